/** The engine: packets as integers, links, apps, networks, runtimes. */
export { AddressBook, decodeRow, encodeRow, type OuterAddress } from './address-book.ts';
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
} from './app.ts';
export { Join, join, Sink, sink, Tee, tee } from './basic.ts';
export type { Between } from './between.ts';
export type { NetworkConfig } from './config.ts';
export { diffConfig, formatConfig, parseConfig } from './config-text.ts';
export { LINK_CAPACITY, type Link } from './link.ts';
export { type LiveOptions, LiveRuntime, liveRuntime } from './live-runtime.ts';
export { Network, type NetworkOptions } from './network.ts';
export { checkOptions } from './options.ts';
export type {
  Channel,
  ChannelHandlers,
  ChannelOptions,
  ConnectOptions,
  DatagramCounters,
  DatagramHandlers,
  DatagramOptions,
  DatagramSocket,
  Listener,
  ListenHandlers,
  ListenOptions,
  Outside,
  Storage,
  StorageDone,
} from './outside.ts';
export { Pool } from './pool.ts';
export { type RandomStream, randomStream } from './random.ts';
export { Reason, reason, reasonName } from './reasons.ts';
export {
  type AppStatus,
  type LinkReport,
  type MemoryReport,
  type NetworkReport,
  totalDrops,
} from './report.ts';
export type { Driven, Driver, Runtime, Watch } from './runtime.ts';
export { slice } from './slice.ts';
export { duration, MICROSECOND, MILLISECOND, SECOND } from './units.ts';
export type { Hosts, VirtualFaults, VirtualOutside } from './virtual-outside.ts';
export { type VirtualOptions, VirtualRuntime } from './virtual-runtime.ts';
export type {
  DiskOperation,
  VirtualDisk,
  VirtualDiskFailure,
  VirtualDiskOptions,
} from './virtual-storage.ts';
