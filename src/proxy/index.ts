/** The members of service chains, and the client that leads to an ingress: processes as classes. */
export { ChainClient, type ChainClientOptions } from './client/client.ts';
export { Egress, type EgressOptions } from './egress/egress.ts';
export { Ingress, type IngressOptions } from './ingress/ingress.ts';
export type { ChainEnd, ChainEndReport, ChainEndUp } from './member/chain-end.ts';
export type { MemberManner } from './member/options.ts';
export {
  ChainFunction,
  type ChainFunctionOptions,
  type ChainFunctionReport,
  type ChainFunctionUp,
} from './vnf/vnf.ts';
