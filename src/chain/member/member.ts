/**
 * The control half of a member of the chain: an ingress, an egress or a runtime of functions. It watches Roulette, tells the packet half what
 * has changed, keeps the member registered, and registers the flows that the packet half places. Messages and time in, messages and
 * updates out: it runs in virtual time as it does live. With Roulette gone everything stays as it was last known.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import type { TunconnectorError } from '../../errors.ts';
import { type FlowSecret, readFlowSecret } from '../flow-id.ts';
import { EGRESS, INGRESS, type Kind, type Replica } from '../roulette/model/model.ts';
import type { TenantView } from '../roulette/model/view.ts';
import type { RegistryConnection } from '../roulette/remote/connection.ts';
import type { TableUpdate } from '../tables/update.ts';
import type { MemberNews } from './control.ts';
import type { PacketFigures } from './figures.ts';
import { FlowDesk } from './flows.ts';
import { type OwnReplica, Registration } from './registration.ts';
import { Suspects } from './suspects.ts';
import { Updates } from './updates.ts';
import { Watching } from './watching.ts';

export interface MemberOptions {
  /** 24 bits. */
  tenant: number;
  replica: OwnReplica;
  /** ns of the lease, for which a member that died is still held alive. Default 5 s. */
  term?: number;
  /** ns without a packet after which a flow is forgotten: Roulette's. Default 300 s. */
  flowIdle?: number;
  /** Flows of an end at a time. Default 200 000. */
  flows?: number;
  /** Not before `register()`: when its port is there. */
  registersLater?: boolean;
  onEvent?(event: MemberEvent): void;
}

export type MemberEvent =
  /** The watch is there, for the first time or again. */
  | { type: 'connected' }
  | { type: 'disconnected'; reason: string; error?: TunconnectorError }
  | { type: 'registered'; id: number; state: Replica['state'] }
  /** Roulette does not want what it was asked; it is asked again. */
  | { type: 'refused'; error: TunconnectorError }
  /** What flow ids are made with: what has to be known before the first flow. */
  | { type: 'secret'; secret: FlowSecret };

/** Takes updates, between breaths of its packet path. */
export interface PacketHalf {
  update(update: TableUpdate): void;
  /** To tell what has passed so far, as news. */
  measure?(): void;
}

/** ns for which changes are collected: a burst of them is one update. */
const COLLECT = MILLISECOND;
/** ns that the last message, the end of the lease, may take. */
const GOODBYE = SECOND;

const OF_ENDS: readonly Kind[] = ['tenant', 'chain', 'replica', 'lease', 'classifier', 'flow'];
const OF_INGRESSES: readonly Kind[] = [...OF_ENDS, 'trace'];
const OF_FUNCTIONS: readonly Kind[] = ['tenant', 'chain', 'replica', 'lease'];

export class Member {
  readonly #runtime: Pick<Runtime, 'now' | 'timer' | 'random'>;
  readonly #connection: RegistryConnection;
  readonly #options: MemberOptions;
  readonly #watching: Watching;
  readonly #registration: Registration;
  readonly #flows: FlowDesk;
  readonly #suspects: Suspects;
  readonly #updates: Updates;
  #half: PacketHalf | undefined;
  #figures: PacketFigures | undefined;
  #secret = '';
  #cancelFlush: (() => void) | undefined;
  #closed = false;
  #onDrained: (() => void)[] = [];

  constructor(
    runtime: Pick<Runtime, 'now' | 'timer' | 'random'>,
    connection: RegistryConnection,
    options: MemberOptions,
  ) {
    this.#runtime = runtime;
    this.#connection = connection;
    this.#options = options;
    const { tenant, replica, term = 5 * SECOND, flowIdle: idle = 300 * SECOND, flows = 200_000 } = options;
    const isEnd = replica.function === INGRESS || replica.function === EGRESS;
    const view = () => this.view;
    const known = () => this.#watching.mirror;
    this.#updates = new Updates(view, isEnd);
    this.#suspects = new Suspects(runtime, connection, view);
    this.#flows = new FlowDesk(runtime, connection, view, { idle, limit: flows }, (id, flow) => {
      this.#updates.noteFlow(id, flow);
      this.#flushSoon();
    });
    this.#registration = new Registration(runtime, connection, replica, term, known, {
      onId: (id) => {
        this.#updates.noteOwn(id);
        this.#flushSoon();
      },
      onRegistered: (id, state) => this.#registered(id, state),
      onRefused: (error) => options.onEvent?.({ type: 'refused', error }),
      measure: () => this.#half?.measure?.(),
      figures: () => this.#figures,
    });
    const ofEnd = replica.function === INGRESS ? OF_INGRESSES : OF_ENDS;
    const kinds = isEnd ? ofEnd : OF_FUNCTIONS;
    const mirror = { kinds, onChange: (kind?: Kind, name?: string) => this.#changed(kind, name) };
    this.#watching = new Watching(runtime, connection, tenant, mirror, {
      onConnected: () => {
        options.onEvent?.({ type: 'connected' });
        this.#watched(true);
        this.#flows.hurry();
      },
      onLost: (reason, error) => {
        options.onEvent?.({ type: 'disconnected', reason, ...(error && { error }) });
        this.#watched(false);
      },
    });
    this.#watching.start();
    if (!options.registersLater) this.register();
  }

  /** From now on it has a lease and a replica. */
  register(): void {
    this.#registration.start();
  }

  /** What is known of the tenant. */
  get view(): TenantView {
    return this.#watching.mirror.view;
  }

  /** Its replica id; 0 before the first registration. */
  get id(): number {
    return this.#registration.id;
  }

  /** Undefined before Roulette was heard for the first time, or when there is no such tenant. */
  get secret(): FlowSecret | undefined {
    return this.#secret === '' ? undefined : readFlowSecret(this.#secret);
  }

  /** For reports. */
  get status() {
    const { mirror, connected, reconnects } = this.#watching;
    return {
      id: this.id,
      registered: this.#registration.isRegistered,
      connected,
      reconnects,
      rev: mirror.rev,
      watch: { ...mirror.counters },
      registration: { ...this.#registration.counters },
      flows: {
        known: this.#flows.known.size,
        evicted: this.#flows.known.evicted,
        waiting: this.#flows.waiting,
        ...this.#flows.counters,
      },
      suspects: this.#suspects.reports,
    };
  }

  // ── The packet half

  /** A packet half, in place of the one before: it is told everything, then what changes. */
  join(half: PacketHalf): void {
    this.#half = half;
    if (!this.#watching.mirror.isFilled) return;
    this.#updates.noteWhole(this.id, this.#flows.known.ids());
    this.#flush();
  }

  receive({ flows, touched, suspects, figures, traces = [] }: MemberNews): void {
    if (this.#closed) return;
    if (flows) this.#flows.place(flows);
    if (touched) this.#flows.touch(touched);
    if (suspects) this.#suspects.report(suspects);
    if (figures) this.#figures = figures;
    for (const trace of traces)
      this.#connection.request('flow.traced', { ...trace, ingress: this.id }, () => {});
  }

  // ── The end

  /** Takes no new flows any more; calls back when Roulette has written that down. Its flows stay. */
  drain(done: () => void = () => {}): void {
    this.#onDrained.push(done);
    this.#registration.drain();
    this.#tellDrained();
  }

  /** Ends the lease, and the replica with it. Calls back when that is known, or after 1 s. */
  close(done: () => void = () => {}): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#half = undefined;
    this.#cancelFlush?.();
    this.#watching.close();
    this.#flows.close();
    const lease = this.#registration.close();
    let told = false;
    const once = () => {
      if (!told) done();
      told = true;
    };
    const cancel = this.#runtime.timer(this.#runtime.now() + (lease ? GOODBYE : 0), once);
    if (!lease) return;
    this.#connection.request('lease.end', { lease }, () => {
      cancel();
      once();
    });
  }

  // ── Inside

  #registered(id: number, state: Replica['state']): void {
    this.#options.onEvent?.({ type: 'registered', id, state });
    this.#tellDrained();
  }

  #tellDrained(): void {
    if (!this.#registration.isDrained) return;
    for (const done of this.#onDrained.splice(0)) done();
  }

  #changed(kind: Kind | undefined, name = ''): void {
    if (kind === undefined) {
      this.#updates.noteWhole(this.id, this.#flows.known.ids());
      this.#flows.changedAll();
      // They last for seconds: each that has no answer yet is young.
      for (const id of this.view.all('trace').keys()) this.#trace(id);
      this.#flushSoon();
    } else if (kind === 'flow') this.#flows.changed(name);
    else if (kind === 'trace') this.#trace(name);
    else if (this.#updates.note(kind, name)) this.#flushSoon();
    if (kind === undefined || kind === 'tenant') this.#learnSecret();
    if (kind === undefined || kind === 'replica') this.#registration.observe();
  }

  #trace(id: string): void {
    const trace = this.view.get('trace', id)?.value;
    // Without a packet half nobody is there to be asked.
    if (!trace || trace.found || !this.#half) return;
    this.#updates.noteTrace({ id, asked: trace.asked });
    this.#flushSoon();
  }

  #watched(watched: boolean): void {
    this.#updates.noteWatched(watched);
    if (this.#watching.mirror.isFilled) this.#flushSoon();
  }

  #learnSecret(): void {
    const secret = this.view.tenant?.secret ?? '';
    if (secret === '' || secret === this.#secret) return;
    this.#secret = secret;
    this.#options.onEvent?.({ type: 'secret', secret: readFlowSecret(secret) });
  }

  #flushSoon(): void {
    if (this.#closed) return;
    this.#cancelFlush ??= this.#runtime.timer(this.#runtime.now() + COLLECT, () => this.#flush());
  }

  #flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    const update = this.#half && this.#updates.take();
    if (!update) return;
    this.#half!.update(update);
    // Flows come in pieces.
    this.#flushSoon();
  }
}
