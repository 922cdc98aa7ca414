/** A DHCP client for one interface of a stack: what it leases, the stack and the neighbours app get. */
import { TunconnectorError } from '../../errors.ts';
import { formatIpAt } from '../../packet/address.ts';
import { parseMac } from '../../packet/prefix.ts';
import type { Neighbours } from '../neighbours/neighbours.ts';
import type { Stack } from '../stack.ts';
import type { UdpSocket } from '../udp/socket.ts';
import { DhcpClient, type Lease } from './client.ts';

const CLIENT = 68;
const SERVER = 67;

export interface DhcpOptions {
  /** By name. Default: the stack's first. */
  interface?: string;
  hostName?: string;
  /**
   * Whether other stations of the link are asked before an address is used, which takes 4 to 7 s (RFC 5227). Default: true.
   * One that another has is declined, and so is one that is claimed twice within ten seconds later on.
   */
  probe?: boolean;
  /** A lease came, was changed, or (undefined) has ended. The stack knows already. */
  onLease?(lease: DhcpLease | undefined): void;
  /** Another station has the address `10.0.0.7`: it was declined, and another will be asked for. */
  onDecline?(address: string): void;
}

/** A lease in text. */
export interface DhcpLease {
  /** `10.0.0.7/24` */
  address: string;
  routers: string[];
  nameservers: string[];
  /** The server that gave it. */
  server: string;
  /** ns since the runtime's start, or Infinity. */
  expires: number;
}

const text = (bytes: Uint8Array) => formatIpAt(bytes, 0, 4);

/**
 * Starts a DHCP client, with the link-layer address that the neighbours app has.
 *
 * @returns what ends it, gives the lease back and takes the address off
 * @throws ERR_CONFIG for an unknown interface, ERR_PORT_IN_USE, ERR_CLOSED before the network runs
 */
export function dhcp(
  stack: Stack,
  neighbours: Neighbours,
  options: DhcpOptions = {},
): { client: DhcpClient; stop(): void } {
  const name = options.interface ?? stack.interfaces[0].name;
  const before = stack.interfaces.find((each) => each.name === name)?.addresses;
  if (!before) throw new TunconnectorError('ERR_CONFIG', `found the interface "${name}", which there is not`);
  // What it has beside, such as IPv6, stays.
  const others = before.map(
    ({ address, length }) => `${formatIpAt(address.bytes, 0, address.family)}/${length}`,
  );
  const runtime = stack.runtime;
  const apply = (mine: DhcpLease | undefined) => {
    const addresses = mine ? [mine.address, ...others] : others;
    stack.setAddresses(name, addresses);
    neighbours.setAddresses(addresses);
    stack.setGateway(name, mine?.routers[0]);
    stack.nameservers = mine?.nameservers ?? [];
  };
  const client = new DhcpClient({
    mac: parseMac(neighbours.mac),
    hostName: options.hostName,
    now: () => runtime.now(),
    timer: (at, callback) => runtime.timer(at, callback),
    probe: options.probe === false ? undefined : (address, done) => neighbours.probe(text(address), done),
    random: () => {
      const [a, b, c, d] = runtime.secret(4);
      return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
    },
    send: (bytes, to) => socket.send(bytes, `${to ? text(to) : '255.255.255.255'}:${SERVER}`),
    onLease(lease) {
      const mine = lease && inText(lease);
      apply(mine);
      options.onLease?.(mine);
    },
    onDecline: (address) => options.onDecline?.(text(address)),
  });
  const socket: UdpSocket = stack.udp({
    port: CLIENT,
    interface: name,
    broadcast: true,
    onMessage: (bytes, from) => {
      if (from.port === SERVER) client.message(bytes);
    },
  });
  neighbours.onConflict = (address) => {
    if (client.lease && text(client.lease.address) === address) client.conflict();
  };
  client.start();
  return {
    client,
    stop() {
      neighbours.onConflict = undefined;
      const had = client.lease;
      client.stop();
      socket.close();
      if (had) apply(undefined);
    },
  };
}

const inText = (lease: Lease): DhcpLease => ({
  address: `${text(lease.address)}/${lease.prefixLength}`,
  routers: lease.routers.map(text),
  nameservers: lease.nameservers.map(text),
  server: text(lease.server),
  expires: lease.expires,
});
