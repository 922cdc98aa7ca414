/** What a run leaves behind: figures by path, subject and quantity, and what could not be measured. */
import type { Machine } from './machine.ts';

/** What is measured, in these units. */
export const QUANTITIES = {
  throughput: 'bit/s',
  cpuPerGB: 's/GB',
  packetRate: 'packets/s',
  /** At the sinks of an engine, where packets are only handed on. */
  handOverRate: 'packets/s',
  cpuPerPacket: 'ns/packet',
  lost: 'part',
  rttMean: 'ns',
  rttMedian: 'ns',
  rttP99: 'ns',
  time: 'ns',
  /** How much later than it should something left. */
  lateMedian: 'ns',
  lateP99: 'ns',
  early: 'packets',
  /** How far the bits of any stretch of 100 ms or 1 s stray from what the rate makes of it. */
  rateError100ms: 'part',
  rateError1s: 'part',
  missed: 'packets',
  /** What each function adds to a chain's one-way latency: the slope over their number. */
  hopMedian: 'ns',
  hopP99: 'ns',
  /** How much of a latency's course that slope explains: R². */
  linearity: 'part',
  oneWayMedian: 'ns',
  oneWayP99: 'ns',
  reordered: 'packets',
  /** From the death of a replica to the last packet of a flow that was lost for it. */
  outageMedian: 'ns',
  outageP99: 'ns',
  /** Of flows that had nothing to do with it: lost, or moved. */
  collateral: 'packets',
  /** That did not arrive. */
  missing: 'packets',
  flowsHit: 'flows',
  /** From a deadly signal to the end of the process: before, its sockets are open. */
  gone: 'ns',
  /** From the edit of a chain to the first packet that arrives by the new path, and the last that leaves for the old. */
  switched: 'ns',
  settled: 'ns',
  /** That were on both paths, or on parts of them. */
  mixed: 'packets',
  memoryPerFlow: 'bytes',
  /** Of one function, for 64 KiB of payload. */
  cpuPerSuperframe: 'ns',
  collections: 'collections',
  /** Of a simulation, for each second of the processor. */
  eventRate: 'events/s',
  memoryPerHost: 'bytes',
  startPerHost: 'ns',
  /** Of the processor: a minute of a TCP flow, an hour of pings, and one event of 30 000 taken back. */
  simulatedMinute: 'ns',
  simulatedHour: 'ns',
  stepBack: 'ns',
} as const;
export type Quantity = keyof typeof QUANTITIES;

/** One figure per round; a round that failed is NaN, in files null. */
export interface Series {
  suite: string;
  path: string;
  subject: string;
  quantity: Quantity;
  values: number[];
}

/** A line that has to be held. Without a reference, the limit is an absolute value. */
export interface Bar {
  suite: string;
  path: string;
  quantity: Quantity;
  subject: string;
  reference?: string;
  /** Where the reference was measured, when that is another path. */
  referencePath?: string;
  atLeast?: number;
  atMost?: number;
  /** The line is about a twin: whether it is good enough to be compared with. */
  validity?: boolean;
}

export interface Failure {
  suite: string;
  path: string;
  subject: string;
  /** 0 is the warm-up. */
  round: number;
  reason: string;
}

/** A subject that could not take part, and why. */
export interface Absence {
  subject: string;
  reason: string;
}

export interface RunOptions {
  suites: string[];
  rounds: number;
  seconds: number;
  pinned: boolean;
  only?: string;
}

export interface Result {
  version: 1;
  machine: Machine;
  options: RunOptions;
  series: Series[];
  bars: Bar[];
  failures: Failure[];
  absences: Absence[];
  /** It was ended before its time. */
  interrupted: boolean;
}

export const RESULT_VERSION = 1;

export function findSeries(
  result: Pick<Result, 'series'>,
  wanted: { suite: string; path: string; subject: string; quantity: Quantity },
): Series | undefined {
  return result.series.find(
    (each) =>
      each.suite === wanted.suite &&
      each.path === wanted.path &&
      each.subject === wanted.subject &&
      each.quantity === wanted.quantity,
  );
}

/** JSON has no NaN. */
export function serializeResult(result: Result): string {
  return `${JSON.stringify(result, (_key, value) => (Number.isNaN(value) ? null : value), 1)}\n`;
}

/** @throws Error that says what is wrong with the file */
export function parseResult(text: string): Result {
  const value = JSON.parse(text) as Result;
  if (value?.version !== RESULT_VERSION || !Array.isArray(value.series) || !Array.isArray(value.bars)) {
    throw new Error(`no result of this version (${RESULT_VERSION}): make it with --json FILE`);
  }
  for (const each of value.series) each.values = each.values.map((figure) => figure ?? Number.NaN);
  return value;
}
