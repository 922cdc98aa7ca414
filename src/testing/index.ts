/** What tests of users' own networks need. */

export { VirtualRuntime } from '../engine/virtual-runtime.ts';
export type {
  FlowReport,
  ImpairInspection,
  LatenessReport,
  PipelineReport,
  StageReport,
} from '../impair/inspect.ts';
export type { ImpairSpec } from '../impair/spec/spec.ts';
export { MemoryPort, type MemoryPortOptions, type ReceivedPacket } from '../tun/memory.ts';
export {
  type BothWays,
  type ImpairedPair,
  type ImpairedPairOptions,
  impairedPair,
} from './impaired-pair.ts';
export {
  type ImpairedSockets,
  type ImpairedUdp,
  impairedSockets,
  impairedUdp,
  type UdpAddress,
} from './impaired-sockets.ts';
export {
  type Attachment,
  type BridgeMember,
  createWorld,
  type ExecOptions,
  Host,
  Wire,
  type WireOptions,
  World,
  type WorldOptions,
} from './namespaces.ts';
export { type TestNetwork, type TestNetworkOptions, testNetwork } from './network.ts';
export { HostProcess, type ProcessEnd, type SpawnOptions } from './process.ts';
export { type SnapshotOptions, snapshotSystem } from './snapshot.ts';
