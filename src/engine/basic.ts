/** Apps that only move packets: copy them to several places, gather them from several, or end them. */
import { z } from 'zod';
import { type App, type AppReport, defineApp, type Ports } from './app.ts';
import { configError } from './config.ts';
import type { Link } from './link.ts';
import { checkOptions } from './options.ts';

function noOptions(options: object): object {
  const [key] = Object.keys(options ?? {});
  if (key !== undefined) throw configError(`found the option "${key}", expected none`);
  return {};
}

const teeOptions = z.strictObject({ copies: z.boolean().optional() });

/** Packets moved at a time. */
const BURST = 256;

/** Everything from `in` leaves through every output: as descriptors over the same bytes, or as copies of them. */
export class Tee implements App {
  readonly inputs = ['in'];
  readonly superframes = true;
  readonly #copies: boolean;

  constructor(options: { copies?: boolean } = {}) {
    this.#copies = options.copies ?? false;
  }

  push({ input, output }: Ports): void {
    const from = input.in;
    for (let n = Math.min(from.waiting, BURST); n > 0; n = Math.min(from.waiting, BURST)) {
      // The last output gets the packets themselves.
      let before: Link | undefined;
      let last: Link | undefined;
      for (const name in output) {
        if (before !== undefined) this.#second(from, before, n);
        before = last;
        last = output[name];
      }
      if (before === undefined) from.moveTo(last!, n);
      else if (!this.#copies) from.splitTo(before, last!, n);
      else {
        from.copyTo(before, n);
        from.moveTo(last!, n);
      }
    }
  }

  #second(from: Link, to: Link, n: number): void {
    if (this.#copies) from.copyTo(to, n);
    else from.cloneTo(to, n);
  }
}

/** Everything from every input leaves through `out`, the inputs taken in turn. */
export class Join implements App {
  readonly outputs = ['out'];
  readonly required = ['out'];
  readonly superframes = true;
  /** Which input goes first: where there is little room, each gets it in its turn. */
  #turn = 0;
  /** The inputs, and of which configuration. */
  #links: Link[] = [];
  #of: Ports['input'] | undefined;

  push({ input, output }: Ports): void {
    if (this.#of !== input) {
      this.#of = input;
      this.#links = Object.values(input);
    }
    const links = this.#links;
    const first = this.#turn;
    for (let i = 0; i < links.length; i++) {
      const place = (first + i) % links.length;
      const n = Math.min(links[place].waiting, BURST);
      links[place].moveTo(output.out, n);
      if (n > 0 && place === first % links.length) this.#turn = (place + 1) % links.length;
    }
  }
}

/** Counts packets and frees them. */
export class Sink implements App {
  readonly outputs = [];
  readonly superframes = true;
  /** Packets, bytes. */
  readonly #counts = new Float64Array(2);

  push({ pool, input }: Ports): void {
    for (const name in input) {
      const link = input[name];
      if (link.waiting > 0) {
        link.freeBurst(link.waiting);
        this.#counts[0] += pool.tally[0];
        this.#counts[1] += pool.tally[1];
      }
    }
  }

  report(): AppReport {
    return { packets: this.#counts[0], bytes: this.#counts[1] };
  }
}

export const tee = defineApp({
  module: import.meta.url,
  export: 'tee',
  check: (options: { copies?: boolean }) => checkOptions(teeOptions, options ?? {}),
  create: (options) => new Tee(options),
});
export const join = defineApp({
  module: import.meta.url,
  export: 'join',
  check: noOptions,
  create: () => new Join(),
});
export const sink = defineApp({
  module: import.meta.url,
  export: 'sink',
  check: noOptions,
  create: () => new Sink(),
});
