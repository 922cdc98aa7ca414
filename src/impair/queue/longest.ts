/**
 * Which of many queues is the longest, by bytes; of several the first. Over a limit it is asked for every packet, and looking
 * through 1024 queues each time took 1.6 us, ten times as long as all the rest. So it is a heap, made when somebody asks and kept
 * up to date from then on, until it may `rest`: keeping it costs 0.1 us a packet, which queues that do not overflow need not spend.
 */
export class Longest {
  readonly #bytes: Float64Array;
  /** Queues, each not shorter than the two below it; and where each queue stands. */
  readonly #heap: Int32Array;
  readonly #places: Int32Array;
  #kept = false;

  /** @param bytes of each queue */
  constructor(bytes: Float64Array) {
    this.#bytes = bytes;
    this.#heap = Int32Array.from(bytes, (_, queue) => queue);
    this.#places = this.#heap.slice();
  }

  get queue(): number {
    if (!this.#kept) {
      this.#kept = true;
      for (let place = (this.#heap.length >> 1) - 1; place >= 0; place--)
        this.#sink(this.#heap[place], place);
    }
    return this.#heap[0];
  }

  /** Nobody will ask soon. */
  rest(): void {
    this.#kept = false;
  }

  /** The bytes of a queue have changed. */
  changed(queue: number): void {
    if (!this.#kept) return;
    const heap = this.#heap;
    let place = this.#places[queue];
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#before(queue, heap[parent])) break;
      this.#put(heap[parent], place);
      place = parent;
    }
    this.#sink(queue, place);
  }

  /** Puts a queue where it belongs, at `place` or below. */
  #sink(queue: number, from: number): void {
    const heap = this.#heap;
    let place = from;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(heap[child + 1], heap[child])) child++;
      if (!this.#before(heap[child], queue)) break;
      this.#put(heap[child], place);
      place = child;
    }
    this.#put(queue, place);
  }

  #before(a: number, b: number): boolean {
    const difference = this.#bytes[a] - this.#bytes[b];
    return difference > 0 || (difference === 0 && a < b);
  }

  #put(queue: number, place: number): void {
    this.#heap[place] = queue;
    this.#places[queue] = place;
  }
}
