/** What tests of users' own networks need. */

export { VirtualRuntime } from '../engine/virtual-runtime.ts';
export { MemoryPort, type MemoryPortOptions, type ReceivedPacket } from '../tun/memory.ts';
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
