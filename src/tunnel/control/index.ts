/** The control protocol of the `udp` tunnel format. docs/udp-format.md is the specification. */
export { type ClientConfig, ClientControl, type ClientState } from './client.ts';
export type { PrefixTable } from './owners.ts';
export { BASE_MTU, PathMtu } from './pmtu.ts';
export { type ServerConfig, ServerControl } from './server.ts';
export {
  ControlDrop,
  type ControlOut,
  type RandomStream,
  type TunnelEvent,
  type TunnelEventType,
} from './session.ts';
export * from './wire.ts';
