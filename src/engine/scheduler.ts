/**
 * One breath of a network:
 *
 *   1. the runtime has read the clock;
 *   2. every app that is due becomes ready;
 *   3. every source that may have packets pulls some in, never more than fit downstream;
 *   4. if there were any, the clock is read again: none came later than what the apps take for now;
 *   5. ready apps push, in the order of the network, until nothing is ready or the round limit is reached.
 *
 * An app is ready when something waits on an input, when its deadline has passed, or when it was woken. An app that
 * moved nothing although something waits (its downstream is full, its descriptor has no room) is set aside until that
 * changes: a consumer took something, its descriptor became ready, or it was woken.
 */
import { AppDeadlines } from './deadlines.ts';
import type { Link } from './link.ts';
import type { AppNode } from './node.ts';
import type { Pool } from './pool.ts';

/** Packets one source brings in per breath at most: bounded work, so that no direction waits long for the other. */
export const PULL_BURST = 256;
/** How often one breath goes over the ready apps; packets that go round in a loop continue in the next breath. */
const ROUNDS = 4;

export class Scheduler {
  readonly #pool: Pool;
  readonly #clock: Float64Array;
  readonly #readClock: () => void;
  #nodes: AppNode[] = [];
  #sources: AppNode[] = [];
  /** A bit for each app by its place in the order. */
  #ready = new Int32Array(1);
  /** Apps that wait for room downstream, by place. */
  #blocked = new Uint8Array(1);
  readonly #deadlines = new AppDeadlines();
  readonly #producers = new Map<Link, AppNode[]>();
  #consumerOf = new Map<Link, AppNode>();
  /** Whether this breath has moved anything. */
  #progress = false;
  /** Since the start. */
  breaths = 0;

  /** @param readClock brings `clock` up to date where time passes by itself */
  constructor(pool: Pool, clock: Float64Array, readClock: () => void) {
    this.#pool = pool;
    this.#clock = clock;
    this.#readClock = readClock;
  }

  /** Takes over a new order. What was ready, due or blocked is found out anew. */
  arrange(nodes: AppNode[]): void {
    this.#nodes = nodes;
    this.#sources = nodes.filter((n) => n.app.pull && n.outputs.length > 0);
    this.#ready = new Int32Array((nodes.length + 31) >> 5);
    this.#blocked = new Uint8Array(nodes.length);
    this.#producers.clear();
    this.#consumerOf = new Map();
    this.#deadlines.resize(nodes.length);
    for (const [place, node] of nodes.entries()) {
      node.order = place;
      if (node.app.pull) node.hungry = true;
      for (const link of node.inputs) this.#consumerOf.set(link, node);
      for (const link of node.outputs) {
        const known = this.#producers.get(link);
        if (known) known.push(node);
        else this.#producers.set(link, [node]);
      }
      this.#setReady(place);
    }
  }

  /** One cell: when an app is due next, or Infinity. */
  get deadline(): Float64Array {
    return this.#deadlines.earliest;
  }

  /** From outside of a breath: run this app soon. */
  wake(node: AppNode): void {
    if (node.order < 0) return;
    if (node.app.pull) node.hungry = true;
    this.#setReady(node.order);
  }

  /** Returns whether there is more to do at once. */
  breathe(): boolean {
    this.breaths++;
    if (this.#deadlines.earliest[0] <= this.#clock[0]) this.#wakeDue();
    this.#progress = false;
    this.#pull();
    if (this.#progress) this.#readClock();
    for (let round = 0; round < ROUNDS; round++) if (!this.#push()) return this.#progress && this.#canPull();
    return true;
  }

  /** Moves what is in the network on and out, and brings nothing in. */
  flush(): void {
    for (const node of this.#nodes) this.#setReady(node.order);
    for (let round = 0; round < ROUNDS; round++) if (!this.#push()) return;
  }

  /** Whether a source may have packets and there is room for them. Nothing it waits for changes without progress. */
  #canPull(): boolean {
    for (let i = 0; i < this.#sources.length; i++) {
      if (this.#sources[i].hungry && this.#sources[i].room > 0) return true;
    }
    return false;
  }

  #wakeDue(): void {
    const times = this.#deadlines.times;
    for (let place = 0; place < times.length; place++) {
      if (times[place] > this.#clock[0]) continue;
      times[place] = Number.POSITIVE_INFINITY;
      this.wake(this.#nodes[place]);
    }
    this.#deadlines.settle();
  }

  #pull(): void {
    for (let i = 0; i < this.#sources.length; i++) {
      const node = this.#sources[i];
      if (!node.hungry) continue;
      const room = Math.min(node.room, PULL_BURST);
      if (room <= 0) continue; // somebody downstream has to move first
      const before = putCount(node);
      this.#pool.actor = node.actor;
      node.hungry = node.app.pull!(node.ports, room);
      const took = putCount(node) - before;
      if (took > 0) {
        node.moved += took;
        node.breaths++;
        this.#progress = true;
        this.#wakeConsumers(node);
      }
      this.#askDeadline(node);
    }
  }

  /** One pass over the ready apps. Returns whether some are ready still. */
  #push(): boolean {
    const ready = this.#ready;
    let left = false;
    for (let word = 0; word < ready.length; word++) {
      // An app may make a later one in the same word ready: that one still runs in this pass, an earlier one does not.
      let done = 0;
      for (;;) {
        const bits = ready[word] & ~done;
        if (bits === 0) break;
        const low = bits & -bits;
        done |= low | (low - 1);
        ready[word] &= ~low;
        this.#run(this.#nodes[(word << 5) + (31 - Math.clz32(low))]);
      }
    }
    for (let word = 0; word < ready.length; word++) if (ready[word] !== 0) left = true;
    return left;
  }

  #run(node: AppNode): void {
    const app = node.app;
    this.#blocked[node.order] = 0;
    if (app.push) {
      const inputs = node.inputs;
      let before = 0;
      for (let i = 0; i < inputs.length; i++) before += inputs[i].count;
      this.#pool.actor = node.actor;
      const free = this.#pool.freeHandles;
      app.push(node.ports);
      // A source that found no memory waits for this, and so may the app itself, which held all it may hold.
      const freed = this.#pool.freeHandles > free;
      if (freed) this.#progress = true;
      let waiting = false;
      let left = 0;
      for (let i = 0; i < inputs.length; i++) {
        const link = inputs[i];
        left += link.count;
        if (link.waiting > 0) waiting = true;
      }
      const taken = before - left;
      if (taken > 0) {
        node.moved += taken;
        node.breaths++;
        this.#progress = true;
        this.#wakeProducers(node);
      }
      if (waiting && (taken > 0 || freed)) this.#setReady(node.order);
      if (left > 0 || (app.held && node.full && app.held() > 0)) this.#blocked[node.order] = 1;
      this.#wakeConsumers(node);
    }
    this.#askDeadline(node);
  }

  #askDeadline(node: AppNode): void {
    const app = node.app;
    const deadlines = this.#deadlines;
    if (app.due) deadlines.times[node.order] = app.due[0];
    else if (app.nextDeadline) deadlines.times[node.order] = app.nextDeadline();
    else return;
    deadlines.moved(node.order);
  }

  #wakeConsumers(node: AppNode): void {
    const outputs = node.outputs;
    for (let i = 0; i < outputs.length; i++) {
      if (outputs[i].count === 0) continue;
      const consumer = this.#consumerOf.get(outputs[i]);
      if (consumer) this.#setReady(consumer.order);
    }
  }

  /** This app made room on its inputs: whoever waited for that may run again. */
  #wakeProducers(node: AppNode): void {
    const inputs = node.inputs;
    for (let i = 0; i < inputs.length; i++) {
      const producers = this.#producers.get(inputs[i]);
      if (!producers) continue;
      for (let p = 0; p < producers.length; p++) {
        if (this.#blocked[producers[p].order] === 1) this.#setReady(producers[p].order);
      }
    }
  }

  #setReady(place: number): void {
    this.#ready[place >> 5] |= 1 << (place & 31);
  }
}

/** Handles a source has put on its links, dropped ones included, counted in wire packets. */
function putCount(node: AppNode): number {
  let n = 0;
  for (let i = 0; i < node.outputs.length; i++) n += node.outputs[i].packets + node.outputs[i].dropped;
  return n;
}
