/** The client of Roulette, for Node and browsers. */
export { ControlError } from './error.ts';
export {
  type ChainDocument,
  type ChainList,
  type ClassifierDocument,
  type Conditional,
  type FeedMessage,
  type FlowDocument,
  type FlowList,
  type FlowQuery,
  type FunctionList,
  type RateList,
  type ReplicaDocument,
  type ReplicaList,
  RouletteClient,
  type RouletteClientOptions,
  type TenantDocument,
  type TenantList,
  type TraceAnswer,
  type WatchOptions,
  type Written,
} from './live-roulette.ts';
