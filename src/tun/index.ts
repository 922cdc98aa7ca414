/** Ports: where packets enter and leave a network. `openTun`, for who just wants a TUN. Captures, and the machine. */
export {
  type CaptureOptions,
  type CaptureOutput,
  type CaptureSummary,
  captureLink,
  type LinkCapture,
} from './capture/capture.ts';
export { captureHosted, type HostedCapture } from './capture/live-attached.ts';
export { captureToFile, type StreamOutputOptions, streamOutput } from './capture/live-file.ts';
export { serveHosted } from './control/live-attached.ts';
export {
  type ControlClient,
  connectControl,
  listNetworks,
  type RunningNetwork,
} from './control/live-client.ts';
export { type Control, serveControl } from './control/live-server.ts';
export { MemoryPort, type MemoryPortOptions, type ReceivedPacket } from './memory.ts';
export { type OpenTunOptions, openTun, type Tun, type TunStats } from './open-tun.ts';
export { type PacketSocketOptions, PacketSocketPort, packetSocket } from './packet-socket.ts';
export { type ReplayOptions, ReplayPort, replay } from './replay.ts';
export { configureInterface, type InterfaceConfiguration, type RouteSpec } from './system/live-ip.ts';
export { SystemChanges } from './system/live-system.ts';
export { type TunOptions, TunPort, tun } from './tun.ts';
export { type UdpOptions, UdpPort, udp } from './udp.ts';
export { type WireEnd, type WireOptions, wire } from './wire.ts';
