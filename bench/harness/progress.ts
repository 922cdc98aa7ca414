/** What is going on, on standard error: one line that is refreshed on a terminal, plain lines elsewhere. */
import { formatClock } from './format.ts';

interface Expected {
  suite: string;
  title: string;
  rounds: number;
  secondsPerVisit: number;
  visits: readonly { subject: string; absent?: string; overhead?: number }[];
}

interface Turn {
  suite: string;
  title: string;
  round: number;
  rounds: number;
  subject: string;
}

export interface Screen {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** Seconds to make hosts and start a tunnel in them. */
const OVERHEAD = 2.5;

export class Progress {
  readonly #screen: Screen;
  readonly #now: () => number;
  /** Guessed seconds of every turn still to come, in their order. */
  #turns: number[] = [];
  #guessed = 0;
  #began = 0;
  #shown = false;
  #last = '';

  constructor(screen: Screen, now: () => number = () => performance.now()) {
    this.#screen = screen;
    this.#now = now;
  }

  expect(experiments: readonly Expected[]): void {
    this.#began = this.#now();
    this.#turns = experiments.flatMap(({ visits, rounds, secondsPerVisit }) => {
      const present = visits.filter((visit) => !visit.absent);
      const round = (seconds: number) =>
        present.map(({ overhead = OVERHEAD }) => Math.min(seconds, secondsPerVisit) + overhead);
      const warmUp = rounds > 1 ? round(2) : [];
      return [...warmUp, ...Array.from({ length: rounds }, () => round(secondsPerVisit)).flat()];
    });
    this.note(`${this.#turns.length} turns, about ${formatClock(this.left())}`);
  }

  /** Milliseconds left: the guesses, corrected by how long the turns took that were guessed before. */
  left(): number {
    const rest = this.#turns.reduce((sum, each) => sum + each, 0) * 1000;
    const passed = this.#now() - this.#began;
    return this.#guessed > 10 ? (rest * passed) / (this.#guessed * 1000) : rest;
  }

  visit({ suite, title, round, rounds, subject }: Turn): void {
    const where = round === 0 ? 'warm-up' : `round ${round} of ${rounds}`;
    const line = `${suite}: ${title}, ${where}, ${formatClock(this.left())} left: ${subject}`;
    if (this.#screen.isTTY) {
      this.#screen.write(`\r\x1b[2K${line.slice(0, (this.#screen.columns ?? 80) - 1)}`);
      this.#shown = true;
      return;
    }
    // One line per round is enough for a log.
    const key = `${suite} ${title} ${round}`;
    if (key !== this.#last) this.#screen.write(`${line.slice(0, line.lastIndexOf(': '))}\n`);
    this.#last = key;
  }

  visited(): void {
    this.#guessed += this.#turns.shift() ?? 0;
  }

  note(text: string): void {
    this.clear();
    this.#screen.write(`bench: ${text}\n`);
  }

  clear(): void {
    if (this.#shown) this.#screen.write('\r\x1b[2K');
    this.#shown = false;
  }
}
