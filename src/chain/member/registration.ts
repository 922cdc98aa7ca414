/**
 * A member's place in the registry: a lease that is kept, and the replica that hangs on it. Whatever is lost is made again; whoever has
 * an address owns the replicas that are registered with it.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND } from '../../engine/units.ts';
import type { TunconnectorError } from '../../errors.ts';
import type { Replica } from '../roulette/model/model.ts';
import type { TenantView } from '../roulette/model/view.ts';
import type { RegistryConnection } from '../roulette/remote/connection.ts';
import { Backoff } from './backoff.ts';
import type { PacketFigures } from './figures.ts';

export interface OwnReplica {
  function: string;
  /** Where its chain port is. */
  address: string;
  port: number;
  /** Share of new flows beside others; default 1. */
  weight?: number;
}

export interface RegistrationEvents {
  /** It has a replica id, perhaps another one than before. */
  onId(id: number): void;
  onRegistered(id: number, state: Replica['state']): void;
  /** Something was refused for a reason that somebody has to do something about; it is tried again. */
  onRefused(error: TunconnectorError): void;
  /** The lease is about to be kept: what has passed is to be measured, and told along with it. */
  measure(): void;
  figures(): PacketFigures | undefined;
}

/** Leases are kept so many times in a term. */
const KEEPS = 3;
/** ns that the packet half has to say what has passed. */
const MEASURE = 100 * MILLISECOND;

export class Registration {
  readonly #runtime: Pick<Runtime, 'now' | 'timer'>;
  readonly #connection: RegistryConnection;
  readonly #own: OwnReplica;
  readonly #term: number;
  readonly #known: () => { view: TenantView; rev: number; isFilled: boolean };
  readonly #events: RegistrationEvents;
  readonly #steps: Backoff;
  readonly #keeps: Backoff;
  #lease: string | undefined;
  /** Term of the lease, ns. */
  #granted = 0;
  #id = 0;
  /** Revision that wrote the replica as it is to be; 0: it has to be written. */
  #rev = 0;
  #wanted: Replica['state'] = 'ready';
  /** A request is out, or the next one waits for its time. */
  #busy = false;
  #closed = false;
  #started = false;
  #cancelKeep = () => {};
  #cancelStep = () => {};
  readonly counters = { leases: 0, registrations: 0 };

  constructor(
    runtime: Pick<Runtime, 'now' | 'timer' | 'random'>,
    connection: RegistryConnection,
    own: OwnReplica,
    term: number,
    known: () => { view: TenantView; rev: number; isFilled: boolean },
    events: RegistrationEvents,
  ) {
    this.#runtime = runtime;
    this.#connection = connection;
    this.#own = own;
    this.#term = term;
    this.#known = known;
    this.#events = events;
    this.#steps = new Backoff(runtime.random('member/registration'));
    this.#keeps = new Backoff(runtime.random('member/lease'));
  }

  /** 0: none yet. */
  get id(): number {
    return this.#id;
  }

  get isRegistered(): boolean {
    return this.#rev !== 0;
  }

  /** Roulette knows that it takes no new flows. */
  get isDrained(): boolean {
    return this.#rev !== 0 && this.#wanted === 'draining';
  }

  start(): void {
    this.#started = true;
    this.#step();
  }

  /** Takes no new flows from now on. */
  drain(): void {
    if (this.#wanted === 'draining') return;
    this.#wanted = 'draining';
    this.#rev = 0;
    this.#step();
  }

  /** The mirror has changed, here or as a whole. */
  observe(): void {
    this.#compare();
    this.#step();
  }

  /** @returns the lease that is to be ended */
  close(): string | undefined {
    this.#closed = true;
    this.#cancelKeep();
    this.#cancelStep();
    return this.#lease;
  }

  /** What the registry has against what was written. */
  #compare(): void {
    const { view, rev } = this.#known();
    // What the mirror has may be older than what was answered, and what is being written is not decided yet.
    if (this.#rev === 0 || this.#busy || rev < this.#rev) return;
    const there = view.get('replica', this.#id);
    if (!there) this.#rev = 0;
    else if (there.value.lease !== this.#lease) this.#takeAnotherId();
    else if (there.rev > this.#rev) {
      // Somebody drained it by hand, or took it back into service: so be it.
      this.#wanted = there.value.state;
      this.#rev = there.rev;
    }
  }

  #takeAnotherId(): void {
    this.#id = 0;
    this.#rev = 0;
  }

  // ── One step at a time, until all is as it should be

  #step(): void {
    if (this.#busy || this.#closed || !this.#started || !this.#known().isFilled) return;
    if (this.#lease === undefined) this.#grant();
    else if (this.#rev === 0) this.#put(this.#lease);
    else this.#removeOthers();
  }

  #grant(): void {
    this.#ask('lease.grant', { term: this.#term }, (error, answer) => {
      if (error) return this.#again(error);
      const { lease, term } = answer as { lease: string; term: number };
      this.counters.leases++;
      this.#lease = lease;
      this.#rev = 0;
      this.#granted = term;
      this.#keepIn(lease, term / KEEPS);
      this.#step();
    });
  }

  #put(lease: string): void {
    const { address, port, weight = 1 } = this.#own;
    const { view } = this.#known();
    // One that is there with this address is this member's, from an answer that was lost or from the time before a restart.
    if (!this.#isOwn(this.#id)) this.#id = 0;
    const before = this.#id === 0 ? this.#withThisAddress().find((each) => each.isSame) : undefined;
    const id = this.#id || before?.id;
    const ifRev = id === undefined ? undefined : view.rev('replica', id);
    const state = this.#wanted;
    const body = { function: this.#own.function, address, port, weight, state, lease };
    this.#ask('replica.put', { ...body, ...(id && { id, ifRev }) }, (error, answer) => {
      // No such function, or no such lease: that is found out at once.
      if (error?.code === 'ERR_NOT_FOUND') this.#keepIn(lease, 0);
      if (error) return this.#again(error);
      const written = answer as { rev: number; id: number };
      this.counters.registrations++;
      this.#steps.reset();
      if (written.id !== this.#id) this.#events.onId((this.#id = written.id));
      if (this.#wanted === state) {
        this.#rev = written.rev;
        this.#events.onRegistered(this.#id, state);
      }
      this.observe();
    });
  }

  /** Others with this address are leftovers: nobody can be there but this one. */
  #removeOthers(): void {
    const { rev } = this.#known();
    if (rev < this.#rev) return;
    const other = this.#withThisAddress().find(({ id }) => id !== this.#id);
    if (!other) return;
    this.#ask('replica.remove', { id: other.id, ifRev: other.rev }, (error) => {
      if (error && error.code !== 'ERR_NOT_FOUND') return this.#again(error);
      // The mirror may not have heard yet; when it does, there may be another.
      this.#compare();
      if (this.#rev === 0) this.#step();
    });
  }

  /** Unless somebody else was given it meanwhile. */
  #isOwn(id: number): boolean {
    const there = this.#known().view.replica(id);
    const { function: of, address, port } = this.#own;
    return !there || (there.function === of && there.address === address && there.port === port);
  }

  #withThisAddress(): { id: number; rev: number; isSame: boolean }[] {
    const found = [];
    for (const { name, rev, value } of this.#known().view.all('replica').values()) {
      if (value.address !== this.#own.address || value.port !== this.#own.port) continue;
      found.push({ id: Number(name), rev, isSame: value.function === this.#own.function });
    }
    return found;
  }

  #ask(
    name: string,
    body: object,
    done: (error: TunconnectorError | undefined, answer: unknown) => void,
  ): void {
    this.#busy = true;
    this.#connection.request(name, body, (error, answer) => {
      this.#busy = false;
      if (!this.#closed) done(error, answer);
    });
  }

  #again(error: TunconnectorError): void {
    if (!TRANSIENT.has(error.code)) this.#events.onRefused(error);
    this.#busy = true;
    this.#cancelStep = this.#runtime.timer(this.#runtime.now() + this.#steps.next(), () => {
      this.#busy = false;
      this.observe();
    });
  }

  // ── The lease, beside the steps: nothing that waits may let it end

  #keepIn(lease: string, wait: number): void {
    this.#cancelKeep();
    const measuring = Math.min(MEASURE, wait);
    this.#cancelKeep = this.#runtime.timer(this.#runtime.now() + wait - measuring, () => {
      this.#events.measure();
      this.#cancelKeep = this.#runtime.timer(this.#runtime.now() + measuring, () => this.#keep(lease));
    });
  }

  #keep(lease: string): void {
    const next = this.#granted / KEEPS;
    const passed = this.#rev === 0 ? undefined : this.#events.figures();
    const figures = passed && [{ replica: this.#id, ...passed }];
    this.#connection.request('lease.keep', { lease, ...(figures && { figures }) }, (error) => {
      if (this.#closed || lease !== this.#lease) return;
      if (error?.code === 'ERR_NOT_FOUND') {
        this.#lease = undefined;
        this.#rev = 0;
        this.#step();
        return;
      }
      if (!error) this.#keeps.reset();
      this.#keepIn(lease, error ? Math.min(next, this.#keeps.next()) : next);
    });
  }
}

/** Of a Roulette that is away or busy, or of a change that came in between: another time it may go well. */
const TRANSIENT: ReadonlySet<string> = new Set([
  'ERR_UNREACHABLE',
  'ERR_BUSY',
  'ERR_CLOSED',
  'ERR_STORAGE',
  'ERR_REVISION',
]);
