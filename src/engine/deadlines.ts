/**
 * The deadlines of a network's apps by their place in the order, and the earliest of them. Cells and a search instead
 * of a heap: most deadlines move with every breath, networks have tens of apps, and no number leaves its array.
 */
export class AppDeadlines {
  /** By place, ns or Infinity. After writing one, call `moved`. */
  times = new Float64Array(0);
  /** One cell. */
  readonly earliest = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  #first = -1;

  /** Starts anew with so many places and no deadline. */
  resize(places: number): void {
    this.times = new Float64Array(places).fill(Number.POSITIVE_INFINITY);
    this.settle();
  }

  moved(place: number): void {
    if (this.times[place] < this.earliest[0]) {
      this.earliest[0] = this.times[place];
      this.#first = place;
    } else if (place === this.#first) {
      this.settle();
    }
  }

  /** Finds the earliest again after many have moved. */
  settle(): void {
    const times = this.times;
    let earliest = Number.POSITIVE_INFINITY;
    let first = -1;
    for (let place = 0; place < times.length; place++) {
      if (times[place] >= earliest) continue;
      earliest = times[place];
      first = place;
    }
    this.earliest[0] = earliest;
    this.#first = first;
  }
}

interface Entry {
  readonly id: number;
  time: number;
  /** In the heap. */
  place: number;
}

/**
 * A heap of (deadline, number), where each number has at most one deadline. Equal deadlines come out lowest number
 * first: for timers the order in which they were set.
 */
export class DeadlineHeap {
  readonly #heap: Entry[] = [];
  readonly #byId = new Map<number, Entry>();

  /** The earliest deadline, or Infinity. */
  first(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#heap[0].time;
  }

  get(id: number): number {
    return this.#byId.get(id)?.time ?? Number.POSITIVE_INFINITY;
  }

  /** Sets or moves a deadline; Infinity removes it. */
  set(id: number, time: number): void {
    if (time === Number.POSITIVE_INFINITY) {
      this.remove(id);
      return;
    }
    const known = this.#byId.get(id);
    if (known === undefined) {
      const entry = { id, time, place: this.#heap.length };
      this.#byId.set(id, entry);
      this.#heap.push(entry);
      this.#rise(entry);
    } else if (time !== known.time) {
      known.time = time;
      this.#rise(known);
      this.#sink(known);
    }
  }

  /** Takes the earliest out and returns its number. Only call it when `first()` is finite. */
  pop(): number {
    const { id } = this.#heap[0];
    this.remove(id);
    return id;
  }

  remove(id: number): void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return;
    this.#byId.delete(id);
    const last = this.#heap.pop()!;
    if (last === entry) return;
    last.place = entry.place;
    this.#heap[last.place] = last;
    this.#rise(last);
    this.#sink(last);
  }

  #rise(entry: Entry): void {
    const heap = this.#heap;
    let { place } = entry;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent];
      if (!before(entry, above)) break;
      above.place = place;
      heap[place] = above;
      place = parent;
    }
    entry.place = place;
    heap[place] = entry;
  }

  #sink(entry: Entry): void {
    const heap = this.#heap;
    let { place } = entry;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      const below = heap[child];
      if (!before(below, entry)) break;
      below.place = place;
      heap[place] = below;
      place = child;
    }
    entry.place = place;
    heap[place] = entry;
  }
}

const before = (a: Entry, b: Entry): boolean => a.time < b.time || (a.time === b.time && a.id < b.id);
