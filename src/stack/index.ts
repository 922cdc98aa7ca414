/** TCP/IP in userspace: a host, or a router, as an app of a network. */
export { type DhcpLease, type DhcpOptions, dhcp } from './dhcp/dhcp.ts';
export type { ResolveOptions } from './dns/resolver.ts';
export { Neighbours, type NeighboursOptions, neighbours } from './neighbours/neighbours.ts';
export type { StackOptions } from './options.ts';
export type { PingOptions, PingResult } from './ping.ts';
export { Stack, stack } from './stack.ts';
export { type IpBelow, PathError, type Route, type TransportAbove } from './tcp/below.ts';
export { type DgramAddress, type DgramInfo, DgramSocket } from './udp/dgram.ts';
export { UdpPeer } from './udp/peer.ts';
export type { UdpHandlers, UdpOptions, UdpSocket, UdpTarget } from './udp/socket.ts';
