export type { ChainRevision } from './chains.ts';
export { SUSPICION } from './suspects.ts';
export { ChainTables, NO_ROW, ReplicaState } from './tables.ts';
export type {
  ChainUpdate,
  FlowUpdate,
  ReplicaUpdate,
  RuleUpdate,
  TableUpdate,
  TraceQuestion,
} from './update.ts';
