/**
 * What most programs need. The parts have more under their own names: `tunconnector/packet`, `/engine`, `/tun`,
 * `/tunnel`, `/testing`. Importing this opens nothing and needs no addon; using a device does.
 */
export {
  type App,
  type AppContext,
  type AppDefinition,
  type AppEvent,
  type AppFactory,
  type AppReport,
  type AppSpec,
  defineApp,
  type Layer,
  type Limits,
  type Ports,
} from './engine/app.ts';
export type { Attached, AttachSpec } from './engine/attach.ts';
export { join, sink, tee } from './engine/basic.ts';
export type { Between } from './engine/between.ts';
export type { NetworkConfig } from './engine/config.ts';
export { LiveRuntime, liveRuntime } from './engine/live-runtime.ts';
export {
  runInWorker,
  WorkerNetwork,
  type WorkerOptions,
} from './engine/live-worker.ts';
export { Network, type NetworkOptions } from './engine/network.ts';
export { Reason, reason, reasonName } from './engine/reasons.ts';
export { type NetworkReport, totalDrops } from './engine/report.ts';
export type { Runtime } from './engine/runtime.ts';
export { duration } from './engine/units.ts';
export { VirtualRuntime } from './engine/virtual-runtime.ts';
export { type ErrorCode, type ErrorDetails, TunconnectorError } from './errors.ts';
export type { ImpairSpec } from './impair/spec/spec.ts';
export { type ImpairedTunnelOptions, type ImpairedTunOptions, openTun, startTunnel } from './impaired.ts';
export type { CaptureOptions, CaptureSummary, LinkCapture } from './tun/capture/capture.ts';
export { captureToFile } from './tun/capture/live-file.ts';
export { MemoryPort, type MemoryPortOptions, type ReceivedPacket } from './tun/memory.ts';
export type { OpenTunOptions, Tun, TunStats } from './tun/open-tun.ts';
export { type PacketSocketOptions, packetSocket } from './tun/packet-socket.ts';
export { type ReplayOptions, replay } from './tun/replay.ts';
export { type TunOptions, tun } from './tun/tun.ts';
export { type UdpOptions, udp } from './tun/udp.ts';
export { type WireOptions, wire } from './tun/wire.ts';
export { type TunnelClientOptions, tunnelClient } from './tunnel/client.ts';
export type { TunnelOptions } from './tunnel/connector/options.ts';
export type { PeerChange } from './tunnel/connector/peers.ts';
export type { EndReport, EndUp, PeerReport, Traffic } from './tunnel/connector/report.ts';
export {
  type RunningTunnel,
  TunConnector,
  type TunConnectorEvents,
  type TunnelReport,
} from './tunnel/connector/tunconnector.ts';
export type { TunnelNotice } from './tunnel/control-link.ts';
export { type RawTunnelOptions, rawTunnel } from './tunnel/raw.ts';
export { type TunnelServerOptions, tunnelServer } from './tunnel/server.ts';
export { type StreamTunnelOptions, streamTunnel } from './tunnel/stream/stream.ts';
