/**
 * An end of service chains: where packets of unmodified hosts come in, and where they leave.
 *
 *   inside -> outside    the flow is looked up, or (at an ingress) classified and placed; its prefix goes in front of the packet,
 *                        which leaves for the first replica of its path
 *   outside -> inside    the prefix is checked and taken off, the flow's path is learned from it, the packet is delivered
 *
 * Nobody is asked on the way: the registry is in tables that the control half keeps up to date. An egress sends the replies back
 * the way the flow came.
 */
import type { AddressBook } from '../../engine/address-book.ts';
import { type App, type AppContext, type AppReport, defineApp, type Ports } from '../../engine/app.ts';
import { checkOptions } from '../../engine/options.ts';
import { roomForPieces } from '../../tunnel/encapsulate.ts';
import { prefixes } from '../../tunnel/options.ts';
import { NONE } from '../flow-table.ts';
import type { ChainControlled, MemberNews } from '../member/control.ts';
import type { ChainTables, TableUpdate } from '../tables/index.ts';
import { FromInside } from './from-inside.ts';
import { FromOutside } from './from-outside.ts';
import { type CheckedEnd, type EndOptions, endSchema } from './options.ts';
import { EndDrop } from './reasons.ts';
import { EndState } from './state.ts';
import { Traces } from './traces.ts';

/** Flows that end in one breath, at most: the others in the next. */
const ENDINGS = 256;

/** Updates that may come before the app is opened. */
const MOST_EARLY = 1024;

export class End implements App, ChainControlled {
  readonly inputs = ['inside', 'outside', 'bypass'];
  readonly outputs = ['inside', 'outside', 'bypass'];
  readonly required = ['inside', 'outside'];
  readonly paths = { inside: ['outside', 'bypass'], outside: ['inside'], bypass: ['inside'] };
  readonly superframes = true;
  readonly layers = { inside: 'L3', bypass: 'L3', outside: 'datagram' } as const;
  readonly limits;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);

  readonly #state: EndState;
  readonly #fromInside: FromInside;
  readonly #fromOutside: FromOutside;
  readonly #traces: Traces;
  #addresses: AddressBook | undefined;
  #wake: (() => void) | undefined;
  /** Updates that came before the app was opened. */
  #early: TableUpdate[] = [];
  #expired = 0;
  onNews: (() => void) | undefined;

  constructor(options: CheckedEnd) {
    const state = new EndState(options);
    this.#state = state;
    this.limits = { packets: options.heldFragments, superframes: 0 };
    state.placing.flows.onNews = () => this.onNews?.();
    state.neighbours.onNews = () => this.onNews?.();
    this.#traces = new Traces(state.placing);
    this.#traces.onNews = () => this.onNews?.();
    this.#fromInside = new FromInside(state);
    this.#fromOutside = new FromOutside(state, this.#fromInside, this.#traces);
  }

  get tables(): ChainTables {
    return this.#state.tables;
  }

  open({ pool, runtime, wake, emit }: AppContext): void {
    this.#state.seed(runtime);
    this.#addresses = pool.addresses;
    this.#wake = wake;
    this.#traces.emit = emit;
    for (const update of this.#early.splice(0)) this.update(update);
  }

  // ── The control half.

  update(update: TableUpdate): void {
    if (!this.#addresses) {
      if (update.whole) this.#early = [];
      if (this.#early.length < MOST_EARLY) this.#early.push(update);
      return;
    }
    this.tables.apply(update, this.#addresses);
    if (update.rules || update.whole) this.#fromInside.setRules(update.rules ?? []);
    for (const flow of update.flows ?? []) this.#state.placing.adopt(flow);
    for (const question of update.traces ?? []) this.#traces.answer(question);
    this.#wake?.();
  }

  takeNews(): MemberNews | undefined {
    const news = this.#state.placing.flows.take();
    const suspects = this.#state.neighbours.takeNews();
    const traces = this.#traces.takeNews();
    return suspects || traces ? { ...news, ...(suspects && { suspects }), ...(traces && { traces }) } : news;
  }

  /**
   * Sends a probe along the path of a flow that is known here. Each hop that it passes, and the far end, sends it back, and is
   * told of as an event of the network: `{ type: 'hop', flow, position, replica, time, last }`, the time in ns since it was sent.
   *
   * @param id 16 hexadecimal digits
   * @returns the path: replica ids from this end to the other; undefined when there is no such flow, or too many are traced
   */
  trace(id: string): number[] | undefined {
    const path = this.#traces.ask(id);
    if (path) this.#wake?.();
    return path;
  }

  // ── Packets.

  push(ports: Ports): void {
    const { pool, input, output, now } = ports;
    const { tables, options, placing, answers, neighbours, fragments } = this.#state;
    placing.flows.table.now = now;
    tables.tick(now);
    this.#fromInside.refill(now);
    answers.refill(now);
    this.#upkeep(ports);
    if (options.probes) neighbours.run(pool, output.outside, now);
    this.#traces.run(ports, tables);
    for (let n = input.outside.waiting; n > 0; n--) this.#fromOutside.take(ports, input.outside.take());
    for (let n = input.inside.waiting; n > 0 && roomForPieces(output.outside); n--)
      this.#fromInside.take(ports, input.inside.take());
    if (input.bypass) input.bypass.moveTo(output.inside, input.bypass.waiting);
    this.due[0] = Math.min(
      placing.flows.table.nextDeadline(),
      fragments.nextDeadline(),
      tables.nextDeadline(),
      neighbours.next[0],
      this.#traces.nextDeadline(),
    );
  }

  #upkeep({ pool, now }: Ports): void {
    if (now < this.due[0]) return;
    const { placing, fragments } = this.#state;
    this.#expired += placing.flows.expire(ENDINGS);
    for (let alone = fragments.expire(now); alone !== NONE; alone = fragments.expire(now))
      pool.drop(alone, EndDrop.Fragment);
  }

  held(): number {
    return this.#state.fragments.waiting;
  }

  close(): void {
    if (this.#addresses) this.tables.release(this.#addresses);
    this.#addresses = undefined;
  }

  /** Fragments that wait are nobody's any more. */
  finish({ pool }: Ports): void {
    const { fragments } = this.#state;
    while (fragments.waiting > 0) pool.drop(fragments.expire(Number.POSITIVE_INFINITY), EndDrop.Fragment);
  }

  report(): AppReport {
    const { tables, placing, options, fragments, icmp, neighbours, answers, counts } = this.#state;
    const { flows, placed, moved, mended, learned, adopted } = placing;
    const { replicas, revisions, suspects } = tables.counts;
    return {
      role: options.role,
      replica: tables.own,
      flows: flows.table.size,
      flowsPlaced: placed,
      flowsMoved: moved,
      flowsMended: mended,
      pathsLearned: learned,
      pathsAdopted: adopted,
      flowsExpired: this.#expired,
      flowsEvicted: flows.table.evicted,
      fragmentsHeld: fragments.waiting,
      icmpSent: icmp.sent,
      icmpSuppressed: icmp.suppressed,
      replicas,
      revisions,
      suspects,
      suspected: neighbours.suspected,
      probesAnswered: answers.given,
      answersHeard: this.#fromOutside.heard,
      unreachable: tables.unreachable,
      ...counts.report(),
    };
  }
}

export const end = defineApp<EndOptions, CheckedEnd>({
  module: import.meta.url,
  export: 'end',
  check(options) {
    const checked = checkOptions(endSchema, options);
    prefixes('addresses', checked.addresses, true);
    return checked;
  },
  create: (options) => new End(options),
});
