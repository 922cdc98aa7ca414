/** Apps that only move packets: copy them to several places, gather them from several, or end them. */
import { z } from 'zod';
import { type App, type AppReport, defineApp, type Ports } from './app.ts';
import { configError } from './config.ts';
import type { Link } from './link.ts';
import { checkOptions } from './options.ts';
import { Reason } from './reasons.ts';

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
  readonly #packets = new Int32Array(BURST);
  readonly #more = new Int32Array(BURST);

  constructor(options: { copies?: boolean } = {}) {
    this.#copies = options.copies ?? false;
  }

  push({ pool, input, output }: Ports): void {
    const packets = this.#packets;
    const more = this.#more;
    for (let n = input.in.takeBurst(packets, BURST); n > 0; n = input.in.takeBurst(packets, BURST)) {
      // The last output gets the packets themselves.
      let last: Link | undefined;
      for (const name in output) {
        if (last !== undefined) {
          const made = this.#copies ? pool.copyBurst(packets, n, more) : pool.cloneBurst(packets, n, more);
          last.putBurst(more, made);
          for (let i = made; i < n; i++) pool.countDrops(Reason.NoMemory, pool.segments[packets[i]]);
        }
        last = output[name];
      }
      last!.putBurst(packets, n);
    }
  }
}

/** Everything from every input leaves through `out`, the inputs taken in turn. */
export class Join implements App {
  readonly outputs = ['out'];
  readonly required = ['out'];
  readonly superframes = true;
  readonly #burst = new Int32Array(BURST);
  /** Which input goes first: where there is little room, each gets it in its turn. */
  #turn = 0;

  push({ input, output }: Ports): void {
    const links = Object.values(input);
    const first = this.#turn;
    for (let i = 0; i < links.length; i++) {
      const place = (first + i) % links.length;
      const n = links[place].takeBurst(this.#burst, BURST);
      output.out.putBurst(this.#burst, n);
      if (n > 0 && place === first % links.length) this.#turn = (place + 1) % links.length;
    }
  }
}

/** Counts packets and frees them. */
export class Sink implements App {
  readonly outputs = [];
  readonly superframes = true;
  readonly #burst = new Int32Array(BURST);
  /** Packets, bytes. */
  readonly #counts = new Float64Array(2);

  push({ pool, input }: Ports): void {
    const burst = this.#burst;
    for (const name in input) {
      const link = input[name];
      for (let n = link.takeBurst(burst, BURST); n > 0; n = link.takeBurst(burst, BURST)) {
        pool.freeBurst(burst, n);
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
