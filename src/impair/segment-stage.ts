/**
 * A stage that decides for each wire packet on its own and holds none. Of a superframe, what passes unchanged stays
 * together: it is sliced only where decisions differ.
 */
import { row } from './marks.ts';
import { Stage } from './stage.ts';
import type { Train } from './train.ts';

/** Lets the wire packet pass as it is. Other decisions are the stage's own, positive numbers. */
export const PASS = 0;

/** Of the superframe at hand; none of 64 KiB has more segments than bytes. One for all stages, which may be thousands. */
const decisions = new Uint8Array(65536);

export abstract class SegmentStage extends Stage {
  /**
   * What becomes of a wire packet.
   * @param mark the row of its packet's marks @param segment which of that packet's wire packets
   */
  protected abstract decide(mark: number, segment: number): number;

  /** Does what was decided. The packet is a single wire packet, and the stage's. */
  protected abstract act(packet: number, decision: number, to: Train, now: number): void;

  run(from: Train, to: Train, now: number): void {
    const { segments } = this.pool;
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      const count = segments[packet];
      if (count === 1) {
        const decision = this.decide(row(packet), 0);
        if (decision === PASS) to.add(packet);
        else this.act(packet, decision, to, now);
      } else {
        this.#superframe(packet, count, to, now);
      }
    }
  }

  #superframe(packet: number, count: number, to: Train, now: number): void {
    const mark = row(packet);
    let acts = 0;
    for (let s = 0; s < count; s++) {
      decisions[s] = this.decide(mark, s);
      if (decisions[s] !== PASS) acts++;
    }
    if (acts === 0) {
      to.add(packet);
      return;
    }
    for (let first = 0; first < count; ) {
      const decision = decisions[first];
      let next = first + 1;
      if (decision === PASS) while (next < count && decisions[next] === PASS) next++;
      const part = this.cut(packet, first, next - first);
      if (part >= 0) {
        if (decision === PASS) to.add(part);
        else this.act(part, decision, to, now);
      }
      first = next;
    }
    this.pool.free(packet);
  }
}
