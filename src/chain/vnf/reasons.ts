/** Why a function's packets are dropped. Functions name reasons of their own on top of these. */
import { reason } from '../../engine/reasons.ts';

export const VnfDrop = {
  /** The function said so, and gave no reason of its own. */
  Dropped: reason('vnf-drop'),
  /** It threw. */
  Error: reason('vnf-error'),
  /** It answered with something that is no verdict. */
  Verdict: reason('vnf-verdict'),
  /** It held as many packets as it may. */
  HoldFull: reason('vnf-hold-full'),
  /** It held a packet for longer than it may. */
  HoldTime: reason('vnf-hold-time'),
  /** It has made it too long for the next link; its sender was told. */
  TooBig: reason('too-big-for-path'),
} as const;

/** Reasons of its own that one function may have. */
const OWN = 16;
const WORDS = /^[a-z0-9]+(-[a-z0-9]+)*$/;

/** Reasons by the names that a function gives them, counted as `vnf-NAME`. */
export class OwnReasons {
  readonly #numbers = new Map<string, number>();

  /** Too many of them, and names that are none, count as `vnf-drop`. */
  number(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    if (this.#numbers.size >= OWN || name.length > 40 || !WORDS.test(name)) return VnfDrop.Dropped;
    let number: number = VnfDrop.Dropped;
    try {
      number = reason(`vnf-${name}`);
    } catch {
      // The process has as many reasons as it can have.
    }
    this.#numbers.set(name, number);
    return number;
  }
}
