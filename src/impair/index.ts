/** Impairments: delay, loss, rate and all that, exact for every wire packet, the same live and in virtual time. */
export { type Inspections, type InspectOptions, type Inspector, inspector } from './attached.ts';
export { DISTRIBUTIONS, Distribution, type DistributionName } from './distribution.ts';
export { Impair, impair } from './impair.ts';
export type {
  FlowReport,
  ImpairInspection,
  LatenessReport,
  PassedReport,
  PipelineReport,
  StageReport,
} from './inspect.ts';
export { impairedLink, impairments } from './link.ts';
export { recordVerdicts, type VerdictRecording } from './log/attached.ts';
export { parseVerdicts, type RecordedFlow, type RecordedFlows } from './log/parse.ts';
export type { VerdictSink } from './log/verdict-log.ts';
export { parseSpec } from './spec/file.ts';
export { PRESET_NAMES, type PresetName } from './spec/presets.ts';
export { type CompiledSpec, compileSpec, type ImpairSpec } from './spec/spec.ts';
