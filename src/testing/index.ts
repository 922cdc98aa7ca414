/** What tests of users' own networks need. */

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
export { HostProcess, type ProcessEnd, type SpawnOptions } from './process.ts';
export { type SnapshotOptions, snapshotSystem } from './snapshot.ts';
