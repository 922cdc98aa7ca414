/**
 * Registers the flows of the packet half, behind their packets, and hears what becomes of them. One question per flow at a time, up to
 * 64 in a request; what the mirror knows already is not asked. While Roulette is away the flows wait, as many as are known.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import type { TunconnectorError } from '../../errors.ts';
import { FLOWS_PER_REQUEST } from '../roulette/model/limits.ts';
import { EGRESS, type Flow } from '../roulette/model/model.ts';
import type { TenantView } from '../roulette/model/view.ts';
import type { RegistryConnection } from '../roulette/remote/connection.ts';
import type { FlowAnswer } from '../roulette/requests/flows.ts';
import { FIRST_GENERATION, isNewer } from '../wire/tlv.ts';
import { Backoff } from './backoff.ts';
import type { PlacedFlow } from './control.ts';
import { adopt, type KnownFlow, KnownFlows } from './known-flows.ts';

/** Requests that wait for answers. Two are enough for the rate of a disk's sync; the rest is for slow ways to Roulette. */
const AT_ONCE = 4;
/** ns until a refusal that may pass is asked again, and how often. */
const LATER = SECOND;
const TRIES = 5;
/** Flows that wait for such another question. */
const MOST_LATER = 16_384;

export interface FlowDeskOptions {
  /** ns without a packet after which a flow is forgotten. */
  idle: number;
  /** Flows at a time. */
  limit: number;
}

export class FlowDesk {
  readonly known: KnownFlows;
  readonly #runtime: Pick<Runtime, 'now' | 'timer'>;
  readonly #connection: RegistryConnection;
  readonly #view: () => TenantView;
  readonly #idle: number;
  /** There is something newer to tell the packet half of this flow. */
  readonly #onChange: (id: string, flow: Omit<Flow, 'key'>) => void;
  readonly #backoff: Backoff;
  readonly #due = new Set<string>();
  readonly #touches = new Set<string>();
  readonly #later: { at: number; id: string }[] = [];
  #out = 0;
  #touching = false;
  /** After a failure, one request at a time and not before then. */
  #failing = false;
  #notBefore = 0;
  #cancelPump: (() => void) | undefined;
  #cancelLater: (() => void) | undefined;
  #cancelForget = () => {};
  #closed = false;
  readonly counters = { asked: 0, held: 0, refused: 0, givenUp: 0, failures: 0, touched: 0 };

  constructor(
    runtime: Pick<Runtime, 'now' | 'timer' | 'random'>,
    connection: RegistryConnection,
    view: () => TenantView,
    { idle, limit }: FlowDeskOptions,
    onChange: (id: string, flow: Omit<Flow, 'key'>) => void,
  ) {
    this.#runtime = runtime;
    this.#connection = connection;
    this.#view = view;
    this.#idle = idle;
    this.#onChange = onChange;
    this.#backoff = new Backoff(runtime.random('member/flows'));
    this.known = new KnownFlows(limit);
    this.#forget();
  }

  /** Flows that are not registered yet. */
  get waiting(): number {
    return this.#due.size;
  }

  close(): void {
    this.#closed = true;
    this.#cancelPump?.();
    this.#cancelLater?.();
    this.#cancelForget();
  }

  // ── What the packet half says

  place(flows: readonly PlacedFlow[]): void {
    for (const wish of flows) {
      const flow = this.known.see(wish.id, this.#runtime.now());
      flow.wish = wish;
      flow.tries = 0;
      if (flow.state === 'asked') flow.isStale = true;
      else if (flow.state !== 'refused') this.#consider(wish.id, flow);
    }
    this.#pump();
  }

  touch(ids: readonly string[]): void {
    const now = this.#runtime.now();
    for (const id of ids) {
      const flow = this.known.see(id, now);
      if (flow.state === 'away') {
        flow.tries = 0;
        this.#consider(id, flow);
      }
      // Who registers a flow has touched it.
      if (flow.state === 'due' || flow.state === 'asked' || flow.state === 'refused') continue;
      if (now - flow.touched < this.#idle / 4) continue;
      flow.touched = now;
      this.#touches.add(id);
    }
    this.#pump();
  }

  // ── What the mirror says

  changed(id: string): void {
    const flow = this.known.get(id);
    if (!flow) return;
    const there = this.#view().get('flow', id)?.value;
    if (there) this.#take(id, flow, there);
    else if (flow.state === 'held') flow.state = 'away';
  }

  /** A snapshot: what became of everything. */
  changedAll(): void {
    const since = this.#runtime.now() - this.#idle;
    for (const [id, flow] of this.known) {
      this.changed(id);
      // It was lost, not ended.
      if (flow.state === 'away' && flow.wish && flow.seen >= since) this.#consider(id, flow);
    }
    this.#pump();
  }

  /** Sends what waits at once: Roulette is back. */
  hurry(): void {
    this.#notBefore = 0;
    this.#cancelPump?.();
    this.#cancelPump = undefined;
    this.#pump();
  }

  // ── Deciding

  /** What is held already needs no question. */
  #consider(id: string, flow: KnownFlow, hasWaited = false): void {
    const view = this.#view();
    const held = view.get('flow', id)?.value;
    const { wish } = flow;
    if (held && (!wish || held.key === wish.key) && (!wish || isSettled(view, held, wish))) {
      this.#due.delete(id);
      this.#take(id, flow, held);
    } else if (wish && held && !hasWaited && isOnlyMoved(held, wish)) {
      // Most often a replica is gone, and Roulette moves all of its flows: then nothing is left to ask.
      this.#askLater(id, flow);
    } else if (wish) {
      flow.state = 'due';
      this.#due.add(id);
    }
  }

  /** False: too many wait already. Then it is asked about after its next packet is told of. */
  #askLater(id: string, flow: KnownFlow): boolean {
    flow.state = 'away';
    if (flow.isLater) return true;
    if (this.#later.length >= MOST_LATER) return false;
    flow.isLater = true;
    this.#later.push({ at: this.#runtime.now() + LATER, id });
    this.#armLater();
    return true;
  }

  #take(id: string, flow: KnownFlow, held: Flow): void {
    if (flow.wish && flow.wish.key !== held.key) return;
    const isAsWished = !flow.wish || isSettled(this.#view(), held, flow.wish);
    if (isAsWished && (flow.state === 'away' || flow.state === 'due')) {
      flow.state = 'held';
      this.#due.delete(id);
    }
    if (flow.wish && held.revision >= flow.wish.revision && !isOnlyMoved(held, flow.wish))
      flow.wish = { ...flow.wish, ...placeOf(held) };
    if (adopt(flow, held)) this.#onChange(id, held);
  }

  // ── Asking

  #pump(): void {
    if (this.#closed || this.#cancelPump) return;
    const wait = this.#notBefore - this.#runtime.now();
    if (wait > 0 && (this.#due.size > 0 || this.#touches.size > 0)) {
      this.#cancelPump = this.#runtime.timer(this.#notBefore, () => {
        this.#cancelPump = undefined;
        this.#pump();
      });
      return;
    }
    while (this.#due.size > 0 && this.#out < (this.#failing ? 1 : AT_ONCE)) this.#register();
    if (this.#touches.size > 0 && !this.#touching && !(this.#failing && this.#out > 0)) this.#sendTouches();
  }

  #register(): void {
    const batch: PlacedFlow[] = [];
    for (const id of this.#due) {
      const flow = this.known.get(id);
      if (flow?.alone && batch.length > 0) break;
      this.#due.delete(id);
      if (flow?.state !== 'due' || !flow.wish) continue;
      flow.state = 'asked';
      flow.isStale = false;
      batch.push(flow.wish);
      if (flow.alone || batch.length === FLOWS_PER_REQUEST) break;
    }
    if (batch.length === 0) return;
    this.#out++;
    this.counters.asked += batch.length;
    this.#connection.request('flows.register', { flows: batch.map(proposalOf) }, (error, answer) => {
      this.#out--;
      if (this.#closed) return;
      if (error) this.#registrationFailed(batch, error);
      else {
        this.#worked();
        const answers = (answer as { flows: FlowAnswer[] }).flows;
        for (const each of answers) this.#answered(each);
      }
      this.#pump();
    });
  }

  #answered(answer: FlowAnswer): void {
    const flow = this.known.get(answer.id);
    if (flow?.state !== 'asked') return;
    if ('error' in answer) {
      this.#refused(answer.id, flow, answer.error.code);
      return;
    }
    const { id, ...held } = answer;
    const wish = flow.wish!;
    flow.state = 'held';
    flow.tries = 0;
    flow.touched = this.#runtime.now();
    this.counters.held++;
    // Asked again only if it has moved on meanwhile.
    if (flow.isStale && isOnlyMoved(held, wish)) this.#askLater(id, flow);
    else if (flow.isStale && isAhead(wish, held)) {
      flow.state = 'due';
      this.#due.add(id);
    } else flow.wish = { ...wish, ...placeOf(held) };
    // The mirror may be ahead of the answer.
    const isOld = held.revision < flow.revision;
    const sameButOld = held.revision === flow.revision && isNewer(flow.generation, held.generation);
    if (!isOld && !sameButOld && adopt(flow, held)) this.#onChange(id, held);
  }

  #refused(id: string, flow: KnownFlow, code: string): void {
    if (code === 'ERR_REFUSED') {
      flow.state = 'refused';
      this.counters.refused++;
    } else if (++flow.tries >= TRIES || !this.#askLater(id, flow)) {
      flow.state = 'away';
      this.counters.givenUp++;
    }
  }

  #registrationFailed(batch: readonly PlacedFlow[], error: TunconnectorError): void {
    const isMisfit = error.code === 'ERR_CONFIG';
    for (const { id } of batch) {
      const flow = this.known.get(id);
      if (flow?.state !== 'asked') continue;
      if (isMisfit && batch.length === 1) {
        flow.state = 'refused';
        this.counters.refused++;
        continue;
      }
      // One of them spoils the others: which one, will be seen.
      if (isMisfit) flow.alone = true;
      flow.state = 'due';
      this.#due.add(id);
    }
    if (!isMisfit) this.#failed();
  }

  #sendTouches(): void {
    const ids: string[] = [];
    for (const id of this.#touches) {
      this.#touches.delete(id);
      ids.push(id);
      if (ids.length === FLOWS_PER_REQUEST) break;
    }
    this.#touching = true;
    this.#connection.request('flows.touch', { ids }, (error, answer) => {
      this.#touching = false;
      if (this.#closed) return;
      if (error) {
        for (const id of ids) if (this.known.has(id)) this.#touches.add(id);
        this.#failed();
      } else {
        this.#worked();
        this.counters.touched += ids.length;
        for (const id of (answer as { missing: string[] }).missing) this.#missing(id);
      }
      this.#pump();
    });
  }

  /** Roulette does not have it (any more), whatever the mirror says. */
  #missing(id: string): void {
    const flow = this.known.get(id);
    if (!flow || flow.state === 'due' || flow.state === 'asked' || flow.state === 'refused') return;
    flow.state = flow.wish ? 'due' : 'away';
    // Who cannot register it looks for it again with its next packets.
    if (flow.wish) this.#due.add(id);
  }

  #failed(): void {
    this.counters.failures++;
    this.#failing = true;
    this.#notBefore = this.#runtime.now() + this.#backoff.next();
  }

  #worked(): void {
    this.#failing = false;
    this.#backoff.reset();
  }

  // ── Time

  #armLater(): void {
    const next = this.#later[0];
    if (this.#closed || !next || this.#cancelLater) return;
    this.#cancelLater = this.#runtime.timer(next.at, () => {
      this.#cancelLater = undefined;
      const now = this.#runtime.now();
      while (this.#later[0] && this.#later[0].at <= now) {
        const { id } = this.#later.shift()!;
        const flow = this.known.get(id);
        if (flow) flow.isLater = false;
        if (flow?.state === 'away') this.#consider(id, flow, true);
      }
      this.#pump();
      this.#armLater();
    });
  }

  #forget(): void {
    this.#cancelForget = this.#runtime.timer(this.#runtime.now() + this.#idle / 4, () => {
      this.known.forget(this.#runtime.now() - 2 * this.#idle);
      this.#forget();
    });
  }
}

/** Whether registering would answer what is held: it is on the revision in force, not behind, and has an egress if there is one. */
function isSettled(view: TenantView, held: Flow, wish: PlacedFlow): boolean {
  const inForce = view.chainRevision(wish.spi);
  if (held.spi !== wish.spi || !inForce || held.revision !== inForce.revision) return false;
  if (isAhead(wish, held)) return false;
  return held.egress !== 0 || view.readyReplicas(EGRESS).length === 0;
}

const placeOf = ({ spi, revision, generation, path, egress }: Omit<Flow, 'key'>) => ({
  spi,
  revision,
  generation,
  path,
  egress,
});

type Place = Pick<Flow, 'spi' | 'revision' | 'generation'>;

/** On one revision the packet half has a newer path than the one that is held. */
const isOnlyMoved = (held: Place, wish: Place): boolean =>
  wish.spi === held.spi &&
  wish.revision === held.revision &&
  wish.generation !== FIRST_GENERATION &&
  isNewer(wish.generation, held.generation);

const isAhead = (wish: Place, held: Place): boolean =>
  wish.spi !== held.spi || wish.revision > held.revision || isOnlyMoved(held, wish);

/** What was not chosen is left for Roulette to choose. */
const proposalOf = ({ id, key, spi, revision, generation, path, egress }: PlacedFlow) => ({
  id,
  key,
  spi,
  revision,
  ...(generation === FIRST_GENERATION ? {} : { generation }),
  ...(path.includes(0) ? {} : { path }),
  ...(egress === 0 ? {} : { egress }),
});
