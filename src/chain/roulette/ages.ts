/** How long ago something was written, by this Roulette's monotonic clock. Not stored: after a restart everything is fresh. */

export class Ages<T> {
  /** In the order of writing: the oldest is first. */
  readonly #written = new Map<string, { at: number; what: T }>();

  get size(): number {
    return this.#written.size;
  }

  write(key: string, what: T, now: number): void {
    this.#written.delete(key);
    this.#written.set(key, { at: now, what });
  }

  /** Unless it is there already. */
  writeFirst(key: string, what: T, now: number): void {
    if (!this.#written.has(key)) this.#written.set(key, { at: now, what });
  }

  forget(key: string): void {
    this.#written.delete(key);
  }

  has(key: string): boolean {
    return this.#written.has(key);
  }

  /** ns; Infinity when it was not written. */
  age(key: string, now: number): number {
    const written = this.#written.get(key);
    return written ? now - written.at : Number.POSITIVE_INFINITY;
  }

  /** Takes out the oldest, up to `most`, that are at least this old. */
  take(age: number, now: number, most: number): T[] {
    const taken: T[] = [];
    for (const [key, { at, what }] of this.#written) {
      if (now - at < age || taken.length === most) break;
      this.#written.delete(key);
      taken.push(what);
    }
    return taken;
  }

  /** This program stood still: nobody could be heard meanwhile. */
  excuse(time: number): void {
    for (const written of this.#written.values()) written.at += time;
  }
}
