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

/**
 * A heap of (deadline, number), where each number has at most one deadline. Equal deadlines come out lowest number
 * first: for timers the order in which they were set.
 */
export class DeadlineHeap {
  #ids: number[] = [];
  readonly #times = new Map<number, number>();
  readonly #places = new Map<number, number>();

  /** The earliest deadline, or Infinity. */
  first(): number {
    return this.#ids.length === 0 ? Number.POSITIVE_INFINITY : this.#times.get(this.#ids[0])!;
  }

  get(id: number): number {
    return this.#times.get(id) ?? Number.POSITIVE_INFINITY;
  }

  /** Sets or moves a deadline; Infinity removes it. */
  set(id: number, time: number): void {
    if (time === Number.POSITIVE_INFINITY) {
      this.remove(id);
      return;
    }
    const place = this.#places.get(id);
    this.#times.set(id, time);
    if (place === undefined) {
      this.#ids.push(id);
      this.#places.set(id, this.#ids.length - 1);
      this.#rise(this.#ids.length - 1);
    } else {
      this.#rise(place);
      this.#sink(this.#places.get(id)!);
    }
  }

  /** Takes the earliest out and returns its number. Only call it when `first()` is finite. */
  pop(): number {
    const id = this.#ids[0];
    this.remove(id);
    return id;
  }

  remove(id: number): void {
    const place = this.#places.get(id);
    if (place === undefined) return;
    const last = this.#ids.pop()!;
    this.#places.delete(id);
    this.#times.delete(id);
    if (last === id) return;
    this.#ids[place] = last;
    this.#places.set(last, place);
    this.#rise(place);
    this.#sink(this.#places.get(last)!);
  }

  #before(a: number, b: number): boolean {
    const x = this.#times.get(a)!;
    const y = this.#times.get(b)!;
    return x < y || (x === y && a < b);
  }

  #rise(from: number): void {
    const id = this.#ids[from];
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#before(id, this.#ids[parent])) break;
      this.#put(place, this.#ids[parent]);
      place = parent;
    }
    this.#put(place, id);
  }

  #sink(from: number): void {
    const id = this.#ids[from];
    let place = from;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= this.#ids.length) break;
      if (child + 1 < this.#ids.length && this.#before(this.#ids[child + 1], this.#ids[child])) child++;
      if (!this.#before(this.#ids[child], id)) break;
      this.#put(place, this.#ids[child]);
      place = child;
    }
    this.#put(place, id);
  }

  #put(place: number, id: number): void {
    this.#ids[place] = id;
    this.#places.set(id, place);
  }
}
