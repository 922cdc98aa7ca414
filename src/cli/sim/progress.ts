/** A bar on a terminal, as long as there is something to wait for. */
import { formatDuration } from '../format.ts';

const WIDTH = 30;
/** ms between two looks of it. */
const PACE = 100;

export class ProgressBar {
  readonly #whole: number;
  readonly #begin = performance.now();
  #shown = performance.now();
  #there = false;

  /** @param whole virtual time in all: ns */
  constructor(whole: number) {
    this.#whole = whole;
  }

  /** @param done virtual time so far: ns */
  show(done: number): void {
    const { stderr } = process;
    const now = performance.now();
    if (!stderr.isTTY || now - this.#shown < PACE) return;
    this.#shown = now;
    this.#there = true;
    const share = Math.min(1, done / this.#whole);
    const filled = Math.round(share * WIDTH);
    const left = share > 0 ? ((now - this.#begin) * 1e6 * (1 - share)) / share : 0;
    const bar = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)}`;
    stderr.write(
      `\r${bar} ${Math.floor(share * 100)} % of ${formatDuration(this.#whole)}, ${formatDuration(left)} left\x1b[K`,
    );
  }

  clear(): void {
    if (this.#there) process.stderr.write('\r\x1b[K');
    this.#there = false;
  }
}
