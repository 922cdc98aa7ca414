/**
 * What has arrived out of order: ranges of sequence numbers, sorted, apart from one another, and so many at most. Each
 * knows when it last changed, for RFC 2018, 4: the block with the latest segment comes first.
 */
import { before, earlier, later, notAfter } from './sequence.ts';

export const MAX_RANGES = 256;

export class Ranges {
  readonly left = new Int32Array(MAX_RANGES);
  readonly right = new Int32Array(MAX_RANGES);
  readonly #changed = new Int32Array(MAX_RANGES);
  count = 0;
  #turn = 0;
  /** The last change that the peer was told of, as of all before it. */
  #told = 0;
  /** Where an ACK had no room for more of them; 0: nowhere. */
  #stopped = 0;
  readonly #limit: number;

  constructor(limit = MAX_RANGES) {
    this.#limit = limit;
  }

  /** Adds `[left, right)`. False, with nothing changed, when it would be one range too many. */
  add(left: number, right: number): boolean {
    let at = 0;
    while (at < this.count && before(this.right[at], left)) at++;
    let end = at;
    while (end < this.count && notAfter(this.left[end], right)) end++;
    if (end === at) {
      if (this.count === this.#limit) return false;
      this.#move(at, at + 1);
    } else {
      left = earlier(left, this.left[at]);
      right = later(right, this.right[end - 1]);
      this.#move(end, at + 1);
    }
    this.left[at] = left;
    this.right[at] = right;
    this.#changed[at] = ++this.#turn;
    this.#stopped = 0;
    return true;
  }

  /** Whether all of `[left, right)` has arrived already. */
  holds(left: number, right: number): boolean {
    for (let i = 0; i < this.count; i++) {
      if (notAfter(this.left[i], left) && notAfter(right, this.right[i])) return true;
    }
    return false;
  }

  /** Everything before `next` is in order: how far that goes together with the first ranges, which end here. */
  advance(next: number): number {
    let gone = 0;
    while (gone < this.count && notAfter(this.left[gone], next)) next = later(next, this.right[gone++]);
    if (gone > 0) this.#move(gone, 0);
    if (this.count === 0) this.#stopped = 0;
    return next;
  }

  /** The range that changed latest among those that changed before `turn` (start with `first`); -1 for none. */
  recent(turn: number): number {
    let found = -1;
    let best = 0;
    for (let i = 0; i < this.count; i++) {
      if (this.#changed[i] >= turn || this.#changed[i] <= best) continue;
      best = this.#changed[i];
      found = i;
    }
    return found;
  }

  /** Where an ACK begins: with the latest, or where the one before it had no more room. */
  get first(): number {
    return this.#stopped || this.#turn + 1;
  }

  /** An ACK tells of all that changed from `turn` on. */
  tell(turn: number): void {
    const rest = this.recent(turn);
    if (rest >= 0 && this.#changed[rest] > this.#told) {
      this.#stopped = turn;
    } else {
      this.#stopped = 0;
      this.#told = this.#turn;
    }
  }

  /** There is more to tell than fitted. */
  get partlyTold(): boolean {
    return this.#stopped > 0;
  }

  turnOf(range: number): number {
    return this.#changed[range];
  }

  /** The ranges from `from` on stand from `to` on. */
  #move(from: number, to: number): void {
    if (from === to) return;
    this.left.copyWithin(to, from, this.count);
    this.right.copyWithin(to, from, this.count);
    this.#changed.copyWithin(to, from, this.count);
    this.count += to - from;
  }
}
