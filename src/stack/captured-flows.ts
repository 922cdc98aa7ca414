/** Flows to hosts that the stack only stands for, by what their packets have in common. Each ends after its time of silence. */
import { DeadlineHeap } from '../engine/deadlines.ts';
import type { SecretNumbers } from './numbers.ts';
import { CapturedRow } from './tcp/row.ts';
import { Table } from './tcp/table.ts';

export abstract class CapturedFlow extends CapturedRow {
  readonly timeWait = false;
  id = 0;
  closed = false;
  /** ns: of the last packet. */
  last = 0;
}

export class CapturedFlows<Flow extends CapturedFlow> {
  readonly #table: Table;
  readonly #byId = new Map<number, Flow>();
  readonly #heap = new DeadlineHeap();
  readonly #limit: number;
  readonly #idleOf: (flow: Flow) => number;
  readonly #ended: (flow: Flow) => void;
  #nextId = 0;

  /**
   * @param limit how many at a time
   * @param idleOf after how much silence a flow ends, ns
   * @param ended is told of those that were silent, and of all when the stack ends
   */
  constructor(
    numbers: SecretNumbers,
    limit: number,
    idleOf: (flow: Flow) => number,
    ended: (flow: Flow) => void,
  ) {
    this.#table = new Table(numbers.i32(), numbers.i32());
    this.#limit = limit;
    this.#idleOf = idleOf;
    this.#ended = ended;
  }

  get size(): number {
    return this.#byId.size;
  }

  get isFull(): boolean {
    return this.#byId.size >= this.#limit;
  }

  find(key: Int32Array): Flow | null {
    return this.#table.find(key) as Flow | null;
  }

  /** @param flow whose key is in no other */
  add(flow: Flow, now: number): void {
    flow.id = this.#nextId++;
    flow.last = now;
    this.#table.insert(flow);
    this.#byId.set(flow.id, flow);
    this.#heap.set(flow.id, now + this.#idleOf(flow));
  }

  forget(flow: Flow): void {
    flow.closed = true;
    if (!this.#byId.delete(flow.id)) return;
    this.#table.remove(flow);
    this.#heap.remove(flow.id);
  }

  /** When `run` has something to do: ns. */
  first(): number {
    return this.#heap.first();
  }

  run(now: number): void {
    while (this.#heap.first() <= now) {
      const flow = this.#byId.get(this.#heap.pop())!;
      const end = flow.last + this.#idleOf(flow);
      if (end <= now) this.#end(flow);
      else this.#heap.set(flow.id, end);
    }
  }

  #end(flow: Flow): void {
    this.forget(flow);
    this.#ended(flow);
  }

  close(): void {
    for (const flow of [...this.#byId.values()]) this.#end(flow);
  }
}
