/** One app in its network: its links, its place in the order, and what the scheduler knows of it. */
import type { App, AppSpec, Ports } from './app.ts';
import type { Link } from './link.ts';
import type { Pool } from './pool.ts';
import type { Watch } from './runtime.ts';

class AppPorts implements Ports {
  readonly pool: Pool;
  input: Record<string, Link> = {};
  output: Record<string, Link> = {};
  readonly #clock: Float64Array;

  constructor(pool: Pool, clock: Float64Array) {
    this.pool = pool;
    this.#clock = clock;
  }

  get now(): number {
    return this.#clock[0];
  }
}

export class AppNode {
  readonly name: string;
  readonly app: App;
  /** The data it was made from; undefined for an instance. */
  spec: AppSpec | undefined;
  /** Row of the pool's drop counters. */
  readonly actor: number;
  readonly account: number;
  readonly ports: AppPorts;
  /** Links in and out as arrays, for the scheduler. */
  inputs: Link[] = [];
  outputs: Link[] = [];
  /** Place in the order; -1 while it is not part of the network. */
  order = -1;
  /** Its source may have packets. */
  hungry = false;
  /** Removed from the configuration, but packets are left. */
  lingering = false;
  readonly watches = new Set<Watch>();

  /** Rounds in which it brought packets in or moved some: for "packets per breath". */
  breaths = 0;
  /** Packets it took from its inputs or brought in, counted in handles. */
  moved = 0;

  constructor(
    name: string,
    app: App,
    spec: AppSpec | undefined,
    actor: number,
    account: number,
    pool: Pool,
    clock: Float64Array,
  ) {
    this.name = name;
    this.app = app;
    this.spec = spec;
    this.actor = actor;
    this.account = account;
    this.ports = new AppPorts(pool, clock);
  }

  /** How many packets it may bring in so that each has room on every output. */
  get room(): number {
    let room = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.outputs.length; i++) {
      if (this.outputs[i].feedback) continue;
      const free = this.outputs[i].room;
      if (free < room) room = free;
    }
    return room;
  }

  /** Whether an output has no room: what it holds may wait for that. */
  get full(): boolean {
    for (let i = 0; i < this.outputs.length; i++) {
      if (!this.outputs[i].feedback && this.outputs[i].room === 0) return true;
    }
    return false;
  }

  get empty(): boolean {
    for (const link of this.inputs) if (link.count > 0) return false;
    return (this.app.held?.() ?? 0) === 0;
  }
}
