/** How flows went over time: looked at from outside, so that looking changes nothing. */
import type { FlowFigures } from '../flows/flow.ts';
import type { Simulation } from '../simulation.ts';

export interface Sample {
  /** World time, ns. */
  at: number;
  /** bit/s since the sample before. */
  goodput: number;
  /** ns */
  rtt: number;
  /** Bytes. */
  cwnd: number;
  /** So far. */
  retransmissions: number;
}

export class Series {
  /** By flow. */
  readonly samples = new Map<string, Sample[]>();
  readonly #sim: Simulation;
  readonly #before = new Map<string, FlowFigures>();
  #at: number;

  constructor(sim: Simulation) {
    this.#sim = sim;
    this.#at = sim.runtime.now();
    for (const each of sim.flows) this.#before.set(each.name, each);
  }

  take(): void {
    const at = this.#sim.runtime.now();
    const span = at - this.#at;
    if (span <= 0) return;
    this.#at = at;
    for (const figures of this.#sim.flows) {
      const { name, kind, rtt, cwnd, retransmissions, receivedBytes } = figures;
      const before = this.#before.get(name);
      this.#before.set(name, figures);
      if (figures.state === 'waiting' || (before && before.state === 'done')) continue;
      const goodput = ((receivedBytes - (before?.receivedBytes ?? 0)) * 8e9) / span;
      const list = this.samples.get(name) ?? [];
      const took = kind === 'tcp' ? rtt : (meanOf(figures, before) ?? list.at(-1)?.rtt ?? 0);
      list.push({ at, goodput, rtt: took, cwnd, retransmissions });
      this.samples.set(name, list);
    }
  }
}

/** What came since the sample before took, where `rtt` is the mean of all; undefined: nothing came. */
function meanOf(figures: FlowFigures, before: FlowFigures | undefined): number | undefined {
  const more = figures.receivedPackets - (before?.receivedPackets ?? 0);
  if (more === 0) return undefined;
  return (figures.rtt * figures.receivedPackets - (before ? before.rtt * before.receivedPackets : 0)) / more;
}

/** One line for each flow and sample: seconds, flow, bit/s, ms, bytes, and how many segments were sent again so far. */
export function seriesCsv({ samples }: Series): string {
  const lines = ['time_s,flow,goodput_bit_s,rtt_ms,cwnd_bytes,retransmissions'];
  for (const [flow, list] of samples)
    for (const { at, goodput, rtt, cwnd, retransmissions } of list)
      lines.push(
        [
          at / 1e9,
          flow,
          Math.round(goodput),
          (rtt / 1e6).toFixed(3),
          Math.round(cwnd),
          retransmissions,
        ].join(),
      );
  return `${lines.join('\n')}\n`;
}
