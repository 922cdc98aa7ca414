/**
 * Whose packets a stage counts and remembers for: those of each flow on its own (another flow changes nothing), or all
 * packets of the link together (a burst of losses hits whoever is sending).
 */
import type { Draws } from './draw.ts';
import type { StageContext } from './stage.ts';

export const SCOPES = ['flow', 'link'] as const;
export type Scope = (typeof SCOPES)[number];

/** Cells a stage may have in a flow's state. */
export const STAGE_CELLS = 2;

export class Scoped {
  /** What is remembered, STAGE_CELLS at each `place`; zeros at first. */
  readonly state: Int32Array;
  readonly scope: Scope;
  readonly #context: StageContext;
  readonly #perFlow: boolean;

  constructor(scope: Scope, context: StageContext) {
    this.scope = scope;
    this.#context = context;
    this.#perFlow = scope === 'flow';
    this.state = this.#perFlow ? context.flows.state : new Int32Array(STAGE_CELLS);
  }

  /** Where in `state` a packet's scope has its first cell. */
  place(mark: number): number {
    if (!this.#perFlow) return 0;
    const { flows, marks, pipeline, cell } = this.#context;
    return flows.place(marks.flow[mark], marks.hash[mark], pipeline, cell);
  }

  /** How many wire packets of its scope came before this one (modulo 2^32). */
  number(mark: number, segment: number): number {
    const { marks } = this.#context;
    return (this.#perFlow ? marks.number[mark] : marks.order[mark]) + segment;
  }

  draw(draws: Draws, mark: number, segment: number): number {
    const { marks } = this.#context;
    if (this.#perFlow) return draws.at(marks.hash[mark] ^ marks.twin[mark], marks.number[mark] + segment);
    return draws.at(marks.twin[mark], marks.order[mark] + segment);
  }
}
