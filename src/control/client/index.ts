/** The client of a served impaired link, for Node and browsers. */
export type {
  Changed,
  DirectionStats,
  Drop,
  DropsMessage,
  Flow,
  FlowList,
  FlowQuery,
  FlowsMessage,
  HelloMessage,
  KindList,
  Part,
  PresetList,
  ReadRule,
  ReadStage,
  Rule,
  RuleDocument,
  RuleList,
  RulePatch,
  RuleStats,
  Sides,
  Spec,
  SpecDocument,
  StageStats,
  Stages,
  Stats,
  StatsMessage,
  StatsQuery,
  StreamMessage,
  StreamQuery,
} from '../impair/contract.ts';
export { ControlError } from './error.ts';
export { type ChangeOptions, type ClientOptions, ImpairClient, type StreamOptions } from './live-client.ts';
export type { SocketClass, SocketLike } from './live-socket.ts';
export { paths } from './paths.ts';
