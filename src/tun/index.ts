/** Ports: where packets enter and leave. And `openTun`, for who just wants a TUN. */
export { MemoryPort, type MemoryPortOptions, type ReceivedPacket } from './memory.ts';
export { type PacketSocketOptions, PacketSocketPort, packetSocket } from './packet-socket.ts';
export { type TunOptions, TunPort, tun } from './tun.ts';
export { type UdpOptions, UdpPort, udp } from './udp.ts';
