/** Functions for service chains: your own with `defineVnf`, and those that are there already. */

export { type InheritedSocket, inheritedUdp } from '../tunnel/connector/live-inherited-udp.ts';
export {
  balance,
  counter,
  firewall,
  impairment,
  match,
  mirror,
  natFunction,
  pass,
  READY_MADE,
  rateLimit,
  rewrite,
} from './functions/index.ts';
export { VnfApp, type VnfExport } from './vnf/app.ts';
export type { VnfContext, VnfPath } from './vnf/context.ts';
export {
  defineVnf,
  isVnf,
  type PlainVnf,
  type Verdict,
  type Vnf,
  type VnfFunction,
  type VnfWithOptions,
} from './vnf/define.ts';
export type { ExportedFlow, FlowDirection, VnfFlow } from './vnf/flows.ts';
export { WatchedFunction, type WatchedOptions } from './vnf/live-watched.ts';
export type { PacketEnd, VnfPacket } from './vnf/packet.ts';
export type { PayloadView } from './vnf/payload.ts';
export type { IcmpView, IpView, TcpView, UdpView } from './vnf/views.ts';
