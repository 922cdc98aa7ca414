/** One chain as a row of steps, and its replicas. */
import { h, setText } from '../shared/dom.ts';
import { bitRate, counted } from '../shared/format.ts';
import { Keyed, type Shown } from '../shared/keyed.ts';
import { type DrawnChain, inForce, isEmpty, placeOf, type SeenReplica, type Step } from './picture.ts';
import { perSecond, type ReplicaRate, rateText, UNKNOWN } from './rate-text.ts';

/** What can be done with what is drawn. */
export interface Doing {
  edit(spi: number): void;
  /** Shows the flows through it. */
  choose(replica: number): void;
  serve(replica: number, state: 'ready' | 'draining'): void;
}

/** What is drawn beside the registry. */
export interface Around {
  rates: ReadonlyMap<number, ReplicaRate>;
  hasRates: boolean;
  /** The replica whose flows are shown. */
  chosen: number | undefined;
  /** The chain of the flow that is looked at, and the replicas on its path. */
  pathOf: number;
  path: ReadonlySet<number>;
  isDraft(spi: number): boolean;
}

/** Replicas of one step that are drawn. */
const DRAWN = 40;
/** Those that somebody should look at go first. */
const NOWHERE: ReadonlySet<number> = new Set();
const ORDER = { suspect: 0, gone: 1, stale: 2, draining: 3, ready: 4 } as const;

export class ChainView implements Shown<DrawnChain> {
  readonly element: HTMLElement;
  readonly #title = h('h3');
  readonly #about = h('p', { class: 'faint' });
  readonly #rates = h('p', { class: 'chain-rates' });
  readonly #edit: HTMLButtonElement;
  readonly #steps: Keyed<Step>;
  readonly #around: () => Around;
  #own: Around;

  constructor(spi: number, doing: Doing, around: () => Around) {
    this.#around = around;
    this.#own = around();
    this.#edit = h('button', { type: 'button', class: 'quiet edit', onclick: () => doing.edit(spi) });
    this.#title.id = `chain-${spi}`;
    const list = h('ol', { class: 'steps' });
    this.element = h(
      'article',
      { class: 'chain', 'aria-labelledby': `chain-${spi}` },
      h('div', { class: 'chain-head' }, this.#title, this.#about, this.#rates, this.#edit),
      list,
    );
    const make = () => new StepView(doing, () => this.#own);
    this.#steps = new Keyed(list, (step, index) => `${index} ${step.name}`, make);
  }

  update({ chain, steps, rates }: DrawnChain): void {
    const { revision, symmetric } = inForce(chain);
    const around = this.#around();
    // A replica of several chains is on the path in one.
    this.#own = around.pathOf === chain.spi ? around : { ...around, path: NOWHERE };
    setText(this.#title, `Chain ${chain.spi}`);
    const kept = chain.revisions.length - 1;
    const parts = [
      chain.ended ? 'has ended' : `revision ${revision}`,
      symmetric ? 'both ways' : 'one way',
      chain.flows === 1 ? '1 flow' : `${counted(chain.flows)} flows`,
      ...(kept > 0 ? [`${kept} older ${kept === 1 ? 'revision' : 'revisions'} on the way`] : []),
    ];
    setText(this.#about, parts.join(', '));
    setText(this.#rates, ratesText(rates, around.hasRates));
    const isDraft = around.isDraft(chain.spi);
    setText(this.#edit, isDraft ? 'Edit: not saved' : 'Edit');
    this.#edit.setAttribute('aria-label', `Edit chain ${chain.spi}${isDraft ? ', not saved' : ''}`);
    this.#edit.classList.toggle('draft', isDraft);
    this.#edit.hidden = chain.ended;
    this.#steps.show(steps);
  }
}

function ratesText(rates: DrawnChain['rates'], hasRates: boolean): string {
  if (!hasRates) return '';
  if (!rates) return `→ ${UNKNOWN}  ← ${UNKNOWN}`;
  return `→ ${bitRate(rates.bitsIn)}  ← ${bitRate(rates.bitsOut)}`;
}

class StepView implements Shown<Step> {
  readonly element: HTMLElement;
  readonly #name = h('h4');
  readonly #empty = h('p', { class: 'nobody' }, 'nobody ready');
  readonly #more = h('p', { class: 'faint' });
  readonly #replicas: Keyed<SeenReplica>;

  constructor(doing: Doing, around: () => Around) {
    const list = h('ul');
    this.element = h('li', { class: 'step' }, this.#name, this.#empty, list, this.#more);
    this.#replicas = new Keyed(
      list,
      ({ id }) => id,
      ({ id }) => new ReplicaView(id, doing, around),
    );
  }

  update(step: Step): void {
    const { name, isEnd, replicas } = step;
    setText(this.#name, name);
    this.element.classList.toggle('end', isEnd);
    this.#empty.hidden = !isEmpty(step);
    const sorted = [...replicas].sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.id - b.id);
    const drawn = replicas.length > DRAWN ? sorted.slice(0, DRAWN) : replicas;
    const more = replicas.length - drawn.length;
    this.#more.hidden = more === 0;
    setText(this.#more, more === 0 ? '' : `and ${counted(more)} more that are ready`);
    this.#replicas.show(drawn);
  }
}

class ReplicaView implements Shown<SeenReplica> {
  readonly element: HTMLElement;
  readonly #choose: HTMLButtonElement;
  readonly #state = h('span', { class: 'state' });
  readonly #place = h('span', { class: 'place' });
  readonly #rate = h('span', { class: 'rate' });
  readonly #serve: HTMLButtonElement;
  readonly #around: () => Around;
  #wanted: 'ready' | 'draining' = 'draining';

  constructor(id: number, doing: Doing, around: () => Around) {
    this.#around = around;
    this.#choose = h('button', { type: 'button', class: 'quiet', onclick: () => doing.choose(id) }, `${id}`);
    const serve = () => doing.serve(id, this.#wanted);
    this.#serve = h('button', { type: 'button', class: 'quiet serve', onclick: serve });
    this.element = h('li', { class: 'replica' }, this.#choose, this.#state, this.#serve);
    this.element.append(this.#place, this.#rate);
  }

  update({ id, state, service, suspected, flows, weight, function: of, ...where }: SeenReplica): void {
    const { rates, chosen, path, hasRates } = this.#around();
    const rate = rates.get(id);
    this.element.dataset.state = state;
    this.element.classList.toggle('on-path', path.has(id));
    this.#choose.setAttribute('aria-pressed', `${chosen === id}`);
    this.#choose.setAttribute('aria-label', `Replica ${id} of ${of}, ${state}: show its flows`);
    const drains = (state === 'suspect' || state === 'stale') && service === 'draining' ? ', draining' : '';
    setText(
      this.#state,
      suspected && state === 'suspect' ? `suspect: ${suspected}${drains}` : `${state}${drains}`,
    );
    const share = weight === 1 ? '' : `, weight ${weight}`;
    const flowText = of === 'ingress' ? '' : `, ${counted(flows)} ${flows === 1 ? 'flow' : 'flows'}`;
    setText(this.#place, `${placeOf(where)}${share}${flowText}`);
    const drops = rate && rate.drops >= 0.05 ? `, ${perSecond(rate.drops)} drops/s` : '';
    const known = rate
      ? `${bitRate(rate.bitsIn)}, ${perSecond(rate.packetsIn)} p/s${drops}`
      : rateText(undefined);
    setText(this.#rate, state === 'gone' || !hasRates ? '' : known);
    this.#wanted = service === 'draining' ? 'ready' : 'draining';
    setText(this.#serve, service === 'draining' ? 'Take back' : 'Drain');
    this.#serve.setAttribute(
      'aria-label',
      service === 'draining' ? `Take replica ${id} back into service` : `Drain replica ${id}`,
    );
    this.#serve.hidden = state === 'gone';
  }
}
