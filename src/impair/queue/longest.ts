/**
 * Which of many queues is the longest, by bytes; of several the first. A heap that is told of every change: when a queue
 * overflows packet by packet, looking through all of 1024 queues each time would cost more than everything else.
 */
export class Longest {
  readonly #bytes: Float64Array;
  /** Queues, each not shorter than the two below it; and where each queue stands. */
  readonly #heap: Int32Array;
  readonly #places: Int32Array;

  /** @param bytes of each queue, all 0 now */
  constructor(bytes: Float64Array) {
    this.#bytes = bytes;
    this.#heap = Int32Array.from(bytes, (_, queue) => queue);
    this.#places = this.#heap.slice();
  }

  get queue(): number {
    return this.#heap[0];
  }

  /** The bytes of a queue have changed. */
  changed(queue: number): void {
    const heap = this.#heap;
    const count = heap.length;
    let place = this.#places[queue];
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#before(queue, heap[parent])) break;
      this.#put(heap[parent], place);
      place = parent;
    }
    for (;;) {
      let child = place * 2 + 1;
      if (child >= count) break;
      if (child + 1 < count && this.#before(heap[child + 1], heap[child])) child++;
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
