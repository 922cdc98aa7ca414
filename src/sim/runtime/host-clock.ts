/** The clock of one simulated host: it starts at 0 when the host does, and may go wrong by some parts in a million. */

export class HostClock {
  /** The instant from which on the clock goes as it does now, as the world and as the host has it: ns. */
  #world: number;
  #host = 0;
  #ppm: number;

  /**
   * @param started world time of the start, ns
   * @param ppm parts per million that it is fast (negative: slow); more than -1e6
   */
  constructor(started: number, ppm = 0) {
    this.#world = started;
    this.#ppm = ppm;
  }

  get ppm(): number {
    return this.#ppm;
  }

  /** What it shows at a time of the world: integer ns. */
  at(world: number): number {
    const since = world - this.#world;
    // Two roundings that never go back: later is never shown as earlier.
    return this.#host + since + (this.#ppm === 0 ? 0 : Math.floor((since * this.#ppm) / 1e6));
  }

  /** The first world time at which it shows `host` or more, which may be no whole number: integer ns; Infinity for Infinity. */
  when(host: number): number {
    if (host === Number.POSITIVE_INFINITY) return host;
    let world = this.#world + Math.ceil((host - this.#host) / (1 + this.#ppm / 1e6));
    while (this.at(world) < host) world++;
    while (world > this.#world && this.at(world - 1) >= host) world--;
    return world;
  }

  /** It shows so much more from now on: ns. @param now world time, ns */
  jump(span: number, now: number): void {
    this.#host = this.at(now) + span;
    this.#world = now;
  }

  /** From now on it is so wrong. What it shows does not jump. @param now world time, ns */
  drift(ppm: number, now: number): void {
    this.#host = this.at(now);
    this.#world = now;
    this.#ppm = ppm;
  }
}
