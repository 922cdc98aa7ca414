/** Where a member's chain port is: others are told this address, so it cannot be one that stands for all of a host's. */

import { type Encapsulation, PORTS } from '../../chain/wire/prefix.ts';
import { configError } from '../../engine/config.ts';
import { TunconnectorError } from '../../errors.ts';
import { formatIp, isIp, isUnspecified, parseIp } from '../../packet/address.ts';
import type { Endpoint } from '../../packet/prefix.ts';
import { formatEndpoint, parseEndpoint } from '../../packet/prefix.ts';
import { routeTo } from '../../tun/system/live-ip.ts';
import { liveOutside } from '../../tunnel/connector/live-outside.ts';

export interface ChainAddress {
  address: string;
  port: number;
  /** `10.0.0.1:4790`, `[fd00::1]:4790`. */
  text: string;
  /** Of the links to other members: bytes. */
  mtu: number;
}

/** An interface that takes more is a loopback: Roulette is on this host, which says nothing about the links to other members. */
const LARGEST_PACKET = 65_535;
const ETHERNET = 1500;

/** @throws ERR_CONFIG, ERR_RESOLVE, ERR_UNREACHABLE */
export async function chainAddress(
  bind: string | undefined,
  encapsulation: Encapsulation,
  roulette: string,
): Promise<ChainAddress> {
  const server = await hostOf(roulette);
  const port = PORTS[encapsulation];
  const endpoint = bind === undefined ? await towards(server, port) : written(bind, port);
  const address = formatIp(endpoint.address);
  const mtu = await liveOutside.mtu(server);
  return {
    ...{ address, port: endpoint.port, text: formatEndpoint(endpoint) },
    mtu: mtu > LARGEST_PACKET ? ETHERNET : mtu,
  };
}

async function hostOf(url: string): Promise<string> {
  let host: string;
  try {
    host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  } catch {
    throw configError(`roulette: found "${url}", expected a URL such as http://roulette.example:7590`);
  }
  const [address] = await liveOutside.resolve(host);
  return address!;
}

async function towards(server: string, port: number): Promise<Endpoint> {
  const path = await routeTo(server);
  if (!path?.source) {
    throw new TunconnectorError('ERR_UNREACHABLE', `there is no way to ${server}`, {
      remedy: 'add a route, or name the address of the chain port (bind)',
    });
  }
  return { address: parseIp(path.source), port };
}

function written(bind: string, port: number): Endpoint {
  const endpoint = isIp(bind) ? { address: parseIp(bind), port } : parseEndpoint(bind);
  if (isUnspecified(endpoint.address) || endpoint.port === 0) {
    throw configError(`bind: found "${bind}", expected the address and port that other members send to`);
  }
  return endpoint;
}
