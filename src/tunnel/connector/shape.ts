/** The network of one end as data: TUN or TAP, what is between, tunnel, UDP port; for `stream` without the last. */
import type { AppSpec } from '../../engine/app.ts';
import { linksThrough } from '../../engine/between.ts';
import type { NetworkConfig } from '../../engine/config.ts';
import { tun } from '../../tun/tun.ts';
import { tunnelClient } from '../client.ts';
import { rawTunnel } from '../raw.ts';
import { tunnelServer } from '../server.ts';
import { streamTunnel } from '../stream/stream.ts';
import type { CheckedTunnelOptions } from './options.ts';
import type { Side } from './report.ts';

/** Ethernet header and EtherIP header (RFC 3378), which a TAP's MTU does not count. */
const ETHERNET_HEADER = 14;
const ETHERIP_HEADER = 2;

/** What is known of an end when its network is made. */
export interface Shape {
  readonly side: Side;
  readonly options: CheckedTunnelOptions;
  /** Of the interface, bytes. */
  readonly mtu: number;
  /** The longest datagram to send, bytes. */
  readonly maxDatagram: number;
  /** Where a server listens, or a client's server. */
  readonly outer: string;
}

/** Bytes of each datagram in front of what the interface's MTU counts. */
export function framingOf({ format, layer }: Pick<CheckedTunnelOptions, 'format' | 'layer'>): number {
  return layer === 'L2' ? ETHERNET_HEADER + (format === 'udp' ? ETHERIP_HEADER : 0) : 0;
}

/** @param socket the UDP port; `stream` has none */
export function networkOf(shape: Shape, socket: AppSpec | undefined): NetworkConfig {
  const { layer, vnetHeader, between, [shape.side]: end } = shape.options;
  const mode = layer === 'L2' ? 'tap' : 'tun';
  const inside = [
    ...linksThrough(between, 'up', 'tun.out', 'tunnel.inside'),
    ...linksThrough(between, 'down', 'tunnel.inside', 'tun.in'),
    ...(between.links ?? []),
  ];
  const device = tun({ name: end!.interface, mode, offload: vnetHeader });
  const { up, down } = between;
  const apps = { tun: device, ...(up && { up }), ...(down && { down }), tunnel: tunnelOf(shape) };
  if (!socket) return { apps, links: inside };
  const outside = ['udp.out -> tunnel.outside', 'tunnel.outside -> udp.in'];
  return { apps: { ...apps, udp: socket }, links: [...inside, ...outside] };
}

export function tunnelOf({ side, options, mtu, maxDatagram, outer }: Shape): AppSpec {
  const { format, layer } = options;
  const server = side === 'server' ? options.server : undefined;
  if (format === 'stream') return streamTunnel(server ? { layer, listen: outer } : { layer, connect: outer });
  const frame = layer === 'L2' ? ETHERNET_HEADER : 0;
  if (format === 'raw') return rawTunnel({ layer, mtu: mtu + frame, ...(server ? {} : { peer: outer }) });
  const fixed = options.mtu === undefined ? {} : { mtu: options.mtu + frame };
  const { addresses } = options[side]!;
  const both = { layer, addresses, maxDatagram, ...fixed };
  if (!server) {
    const { announce, keepalive } = options.client!;
    return tunnelClient({ ...both, server: outer, announce, keepalive });
  }
  const { routes, allow, maxClients } = server;
  return tunnelServer({ ...both, routes, allow, ...(maxClients === undefined ? {} : { maxClients }) });
}
