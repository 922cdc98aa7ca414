/**
 * The flows of a tenant, of which there may be hundreds of thousands. Roulette gives them by id, page after page, so they are asked for
 * as far down as somebody scrolls, and no further than `MOST`: a search narrows them down.
 */
import type { FlowDocument, FlowList, FlowQuery } from '../../client/roulette.ts';

/** Flows of one question. */
export const PAGE = 500;
/** Flows that are shown. */
export const MOST = 10_000;

export type FlowFilter = Pick<FlowQuery, 'search' | 'spi' | 'replica'>;
export type AskFlows = (query: FlowQuery) => Promise<FlowList>;

export class Flows {
  readonly #ask: AskFlows;
  readonly #changed: () => void;
  #filter: FlowFilter = {};
  #flows: FlowDocument[] = [];
  /** After the last of those; undefined: there are no more. */
  #next: string | undefined;
  /** Answers to questions of before a change are for nobody. */
  #round = 0;
  #busy = false;
  /** All that there are, shown or not. */
  total = 0;

  /** @param changed called when flows have come */
  constructor(ask: AskFlows, changed: () => void) {
    this.#ask = ask;
    this.#changed = changed;
  }

  /** Rows of the list: those that are known, and those that can be asked for. */
  get count(): number {
    return Math.min(this.total, MOST);
  }

  get filter(): FlowFilter {
    return this.#filter;
  }

  /** Undefined: not known yet. */
  get(index: number): FlowDocument | undefined {
    return this.#flows[index];
  }

  /** Everything is asked for anew. */
  show(filter: FlowFilter): void {
    this.#filter = filter;
    this.#round++;
    this.#busy = false;
    this.#flows = [];
    this.#next = undefined;
    this.total = 0;
    this.#changed();
    void this.#load(PAGE, []);
  }

  /** Rows up to there are in sight: what is missing is asked for. */
  reach(end: number): void {
    if (end > this.#flows.length && this.#next !== undefined) void this.#load(end, this.#flows);
  }

  /** Asks again, from the first to what is in sight. */
  refresh(end: number): void {
    void this.#load(Math.max(end, PAGE), []);
  }

  /** One question after the other, until there are so many. */
  async #load(wanted: number, from: readonly FlowDocument[]): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    const round = this.#round;
    const flows = [...from];
    let next = from.length > 0 ? this.#next : undefined;
    let { total } = this;
    try {
      do {
        const more = next === undefined ? {} : { after: next };
        const page = await this.#ask({ ...this.#filter, limit: PAGE, ...more });
        if (round !== this.#round) return;
        flows.push(...page.flows);
        next = page.next;
        total = page.total;
      } while (next !== undefined && flows.length < Math.min(wanted, MOST));
      this.#flows = flows.slice(0, MOST);
      this.#next = flows.length < MOST ? next : undefined;
      this.total = total;
    } catch {
      // The connection tells of it; the next refresh asks again.
    }
    if (round !== this.#round) return;
    this.#busy = false;
    this.#changed();
  }
}
