/** How much each client has: nobody may take all there is. */
export class Sources {
  readonly #most: number;
  readonly #counts = new Map<string, number>();

  constructor(most: number) {
    this.#most = most;
  }

  /** One more. False: it has as many as one may have. */
  take(source: string): boolean {
    const count = this.#counts.get(source) ?? 0;
    if (count >= this.#most) return false;
    this.#counts.set(source, count + 1);
    return true;
  }

  release(source: string): void {
    const count = this.#counts.get(source) ?? 0;
    if (count <= 1) this.#counts.delete(source);
    else this.#counts.set(source, count - 1);
  }
}
