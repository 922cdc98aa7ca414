/**
 * A heap of (deadline, number), where each number has at most one deadline. Equal deadlines come out lowest number
 * first for apps (their order in the network) and for timers (the order in which they were set).
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
