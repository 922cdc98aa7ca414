/**
 * The flows of a link, of which there may be many thousands: the server sorts and searches, and only the pages that are in sight
 * are asked for.
 */
import type { Flow, FlowList, FlowQuery } from '../../client/index.ts';

export type FlowSort = NonNullable<FlowQuery['sort']>;

/** Flows of one question. */
export const PAGE = 100;
/** Pages that are kept; beyond that, those that were asked for first go. */
const KEPT = 8;

export type AskFlows = (query: FlowQuery) => Promise<FlowList>;

export class FlowPages {
  readonly #ask: AskFlows;
  readonly #changed: () => void;
  readonly #pages = new Map<number, readonly Flow[]>();
  readonly #asked = new Set<number>();
  #sort: FlowSort = 'rate';
  #search = '';
  /** Answers to questions of before a change are for nobody. */
  #round = 0;
  total = 0;
  /** When the newest page was taken, on the link's clock. */
  at = 0;

  /** @param changed called when flows have come */
  constructor(ask: AskFlows, changed: () => void) {
    this.#ask = ask;
    this.#changed = changed;
  }

  get sort(): FlowSort {
    return this.#sort;
  }

  /** Everything is asked for anew. */
  show(sort: FlowSort, search: string): void {
    this.#sort = sort;
    this.#search = search;
    this.#round++;
    this.#pages.clear();
    this.#asked.clear();
    this.#fetch(0);
  }

  /** One flow; undefined when it is not known yet, and then asked for. */
  get(index: number): Flow | undefined {
    const page = Math.floor(index / PAGE);
    const flows = this.#pages.get(page);
    if (!flows) this.#fetch(page);
    return flows?.[index % PAGE];
  }

  /** Asks again for what is in sight; what is not will be asked for when it is. */
  refresh(first: number, end: number): void {
    const [from, to] = [Math.floor(first / PAGE), Math.floor(Math.max(first, end - 1) / PAGE)];
    for (const page of this.#pages.keys()) if (page < from || page > to) this.#pages.delete(page);
    for (let page = from; page <= to; page++) this.#fetch(page);
  }

  #fetch(page: number): void {
    if (this.#asked.has(page)) return;
    this.#asked.add(page);
    const round = this.#round;
    const search = this.#search === '' ? {} : { search: this.#search };
    this.#ask({ top: PAGE, offset: page * PAGE, sort: this.#sort, ...search })
      .then(({ at, total, flows }) => {
        if (round !== this.#round) return;
        this.#asked.delete(page);
        this.#pages.delete(page);
        this.#pages.set(page, flows);
        for (const other of this.#pages.keys()) {
          if (this.#pages.size <= KEPT) break;
          this.#pages.delete(other);
        }
        this.total = total;
        this.at = at;
        this.#changed();
      })
      .catch(() => {
        // The connection tells of it; the next refresh asks again.
        if (round === this.#round) this.#asked.delete(page);
      });
  }
}
