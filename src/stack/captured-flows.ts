/** Flows to hosts that the stack only stands for, by what their packets have in common. Each ends after its time of silence. */
import { DeadlineHeap } from '../engine/deadlines.ts';
import type { PathRoute } from './ip/routing.ts';
import type { SecretNumbers } from './numbers.ts';
import { CapturedRow } from './tcp/row.ts';
import { Table } from './tcp/table.ts';

interface Handlers {
  /** It was silent for too long, or the stack ends. */
  onClosed?(): void;
}

export abstract class CapturedFlow<H extends Handlers = Handlers> extends CapturedRow {
  readonly timeWait = false;
  handlers: H | undefined;
  /** Back to who has begun. */
  route: PathRoute | undefined;
  id = 0;
  closed = false;
  /** ns: of the last packet. */
  last = 0;
}

export abstract class CapturedFlows<Flow extends CapturedFlow> {
  readonly #table: Table;
  readonly #byId = new Map<number, Flow>();
  readonly #heap = new DeadlineHeap();
  readonly #limit: number;
  #nextId = 0;

  /** @param limit how many at a time */
  constructor(numbers: SecretNumbers, limit: number) {
    this.#table = new Table(numbers.i32(), numbers.i32());
    this.#limit = limit;
  }

  /** After how much silence a flow ends: ns. */
  protected abstract idleOf(flow: Flow): number;

  get size(): number {
    return this.#byId.size;
  }

  protected get isFull(): boolean {
    return this.#byId.size >= this.#limit;
  }

  protected find(key: Int32Array): Flow | null {
    return this.#table.find(key) as Flow | null;
  }

  /** @param flow whose key is in no other */
  protected add(flow: Flow, now: number): void {
    flow.id = this.#nextId++;
    flow.last = now;
    this.#table.insert(flow);
    this.#byId.set(flow.id, flow);
    this.#heap.set(flow.id, now + this.idleOf(flow));
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
      const end = flow.last + this.idleOf(flow);
      if (end <= now) this.#end(flow);
      else this.#heap.set(flow.id, end);
    }
  }

  #end(flow: Flow): void {
    this.forget(flow);
    flow.handlers?.onClosed?.();
  }

  close(): void {
    for (const flow of [...this.#byId.values()]) this.#end(flow);
  }
}
