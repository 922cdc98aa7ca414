/**
 * The outer side of a tunnel: names, the MTU towards a peer, and the socket. Normally all in the network this process
 * is in; a tunnel whose inner side lives in another network namespace is given another `Outside`.
 */
import { lookup } from 'node:dns/promises';
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { AppSpec } from '../../engine/app.ts';
import { TunconnectorError } from '../../errors.ts';
import { isIp } from '../../packet/address.ts';
import { readInterface, routeTo } from '../../tun/system/live-ip.ts';
import { type UdpOptions, udp } from '../../tun/udp.ts';

export interface Outside {
  /** Whether peers are reached through the same routing table as what goes into the tunnel. */
  readonly shared: boolean;
  /** Addresses of a host, the preferred first. @throws ERR_RESOLVE */
  resolve(host: string): Promise<string[]>;
  /** MTU of the interface towards an address, in bytes; of the way out in general without one. */
  mtu(address?: string): Promise<number>;
  /** The address that stands for all of this host's. */
  anyAddress(): string;
  socket(options: UdpOptions): AppSpec;
}

const ETHERNET_MTU = 1500;
/** A documentation address (RFC 5737): nobody's, so the way there is the way out. */
const ANYWHERE = '192.0.2.1';

export const liveOutside: Outside = {
  shared: true,
  resolve: resolveHost,
  mtu: outerMtu,
  // A kernel without IPv6 has no such file, and no socket of that family.
  anyAddress: () => (existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0'),
  socket: udp,
};

async function resolveHost(host: string): Promise<string[]> {
  if (isIp(host)) return [host];
  try {
    return (await lookup(host, { all: true, order: 'verbatim' })).map((found) => found.address);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new TunconnectorError('ERR_RESOLVE', `the host name "${host}" does not resolve (${code})`, {
      remedy: 'check the name and the resolver (getent hosts), or give an IP address',
      errno: code,
      cause: error,
    });
  }
}

async function outerMtu(address?: string): Promise<number> {
  const path = await routeTo(address ?? ANYWHERE);
  const devices = path
    ? [path.device]
    : // No way out in general: any of the networks this host is in may be where peers are.
      Object.entries(networkInterfaces())
        .filter(([, addresses]) => addresses?.some((each) => !each.internal))
        .map(([name]) => name);
  const mtus = await Promise.all(
    devices.map((name) =>
      readInterface(name).then(
        ({ mtu }) => mtu,
        () => ETHERNET_MTU,
      ),
    ),
  );
  return mtus.length > 0 ? Math.min(...mtus) : ETHERNET_MTU;
}
