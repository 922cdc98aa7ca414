/** What an impairment did, as plain data: for people, web pages and tests, also from another thread. */
import type { AppReport } from '../engine/app.ts';
import { reasonName } from '../engine/reasons.ts';
import type { Flows } from './flows.ts';
import type { Histogram } from './histogram.ts';
import type { Direction, FlowView } from './match.ts';
import type { NamedStage } from './options.ts';
import type { Pipeline, Step } from './pipeline.ts';
import { viewOf } from './rules.ts';

/** Wire packets and bytes since the start. */
export interface PassedReport {
  packets: number;
  bytes: number;
  packetsOut: number;
  bytesOut: number;
  /** Wire packets that were dropped. */
  dropped: number;
  /** Handles it holds now. */
  held: number;
}

/** How long after its time a packet left, ns. Percentiles are upper edges of buckets that are 19 % wide. */
export interface LatenessReport {
  count: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  maximum: number;
}

export interface StageReport extends PassedReport {
  name: string;
  kind: string;
  options: NamedStage;
  /** Taken out, but packets are left. */
  leaving: boolean;
  /** Wire packets, by reason. */
  drops: Record<string, number>;
  lateness: LatenessReport;
  /** What is special about the kind. */
  details: AppReport;
}

export interface PipelineReport extends PassedReport {
  /** The rule's, or `default`. */
  label: string;
  leaving: boolean;
  /** What all packets that left took, in all: ns. Its growth by that of `packetsOut` is the mean delay in between. */
  delay: number;
  stages: StageReport[];
}

export interface FlowReport extends FlowView {
  /** Of its packets, where a rule divides it by that; -1 otherwise. */
  dscp: number;
  /** The rule whose pipeline its packets pass, or `default`. */
  rule: string;
  packets: number;
  bytes: number;
  /** When its last packet came: ns on the runtime's clock. */
  last: number;
}

export interface ImpairInspection extends PassedReport {
  seed: number;
  direction: Direction;
  /** As of a pipeline. */
  delay: number;
  /** Pipelines there are. */
  pipelineCount: number;
  /** That of all other packets first. */
  pipelines: PipelineReport[];
  flows: { known: number; limit: number; evicted: number; top: FlowReport[] };
}

export function inspectPipeline(pipeline: Pipeline): PipelineReport {
  const [packets, bytes, packetsOut, bytesOut, delay] = pipeline.counts;
  const { label, leaving, steps } = pipeline;
  const passed = { packets, bytes, packetsOut, bytesOut, dropped: pipeline.dropped(), held: pipeline.held() };
  return { label, leaving, ...passed, delay, stages: steps.map(inspectStep) };
}

function inspectStep({ name, options, stage, leaving, counts }: Step): StageReport {
  const [packets, bytes, packetsOut, bytesOut] = counts;
  return {
    name,
    kind: options.kind,
    options,
    leaving,
    packets,
    bytes,
    packetsOut,
    bytesOut,
    dropped: stage.dropped(),
    held: stage.held(),
    drops: Object.fromEntries([...stage.drops].map(([reason, cell]) => [reasonName(reason), cell[0]])),
    lateness: inspectLateness(stage.lateness),
    details: stage.details(),
  };
}

function inspectLateness(histogram: Histogram): LatenessReport {
  const { count, mean, maximum } = histogram;
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => histogram.percentile(share));
  return { count, mean, p50, p90, p99, maximum };
}

/** The first, which is that of the default, and of the others those with the most bytes, at most `limit`. */
export function busiest(pipelines: readonly Pipeline[], limit: number): readonly Pipeline[] {
  if (pipelines.length <= limit + 1) return pipelines;
  const [first, ...others] = pipelines;
  return [first, ...others.sort((a, b) => b.counts[1] - a.counts[1]).slice(0, limit)];
}

/**
 * The flows with the most bytes, at most `limit`.
 * @param labels of pipelines by place
 */
export function topFlows(
  flows: Flows,
  direction: Direction,
  labels: readonly string[],
  limit: number,
): FlowReport[] {
  const top: number[] = [];
  if (limit === 0) return [];
  for (const flow of flows) {
    // One that is divided has no packets of its own.
    if (flows.packets[flow] === 0) continue;
    if (top.length === limit && flows.bytes[flow] <= flows.bytes[top[limit - 1]]) continue;
    let place = top.findIndex((other) => flows.bytes[other] < flows.bytes[flow]);
    if (place < 0) place = top.length;
    top.splice(place, 0, flow);
    if (top.length > limit) top.pop();
  }
  return top.map((flow) => {
    const sourceLower = !flows.backward(flow);
    const remoteLower = direction === 'up' ? !sourceLower : sourceLower;
    return {
      ...viewOf(flows.keys, flows.keyAt(flow), remoteLower, direction),
      dscp: flows.dscp(flow),
      rule: labels[flows.pipeline[flow]] ?? 'default',
      packets: flows.packets[flow],
      bytes: flows.bytes[flow],
      last: flows.last[flow],
    };
  });
}
