/** Apps that only move packets: copy them to several places, gather them from several, or end them. */
import { type App, type AppReport, defineApp, type Ports } from './app.ts';
import { configError } from './config.ts';
import { Reason } from './reasons.ts';

function noOptions(options: object): object {
  const [key] = Object.keys(options ?? {});
  if (key !== undefined) throw configError(`found the option "${key}", expected none`);
  return {};
}

/** Everything from `in` leaves through every output, as descriptors over the same bytes. */
export class Tee implements App {
  readonly inputs = ['in'];
  readonly superframes = true;

  push({ pool, input, output }: Ports): void {
    const outputs = Object.values(output);
    const last = outputs.length - 1;
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      for (let i = 0; i < last; i++) {
        const copy = pool.clone(packet);
        if (copy < 0) pool.countDrops(Reason.NoMemory, pool.segments[packet]);
        else outputs[i].put(copy);
      }
      outputs[last].put(packet);
    }
  }
}

/** Everything from every input leaves through `out`, the inputs taken in turn. */
export class Join implements App {
  readonly outputs = ['out'];
  readonly required = ['out'];
  readonly superframes = true;
  readonly #burst = new Int32Array(256);
  /** Which input goes first: where there is little room, each gets it in its turn. */
  #turn = 0;

  push({ input, output }: Ports): void {
    const links = Object.values(input);
    const first = this.#turn;
    for (let i = 0; i < links.length; i++) {
      const place = (first + i) % links.length;
      const n = links[place].takeBurst(this.#burst, this.#burst.length);
      output.out.putBurst(this.#burst, n);
      if (n > 0 && place === first % links.length) this.#turn = (place + 1) % links.length;
    }
  }
}

/** Counts packets and frees them. */
export class Sink implements App {
  readonly outputs = [];
  readonly superframes = true;
  #packets = 0;
  #bytes = 0;

  push({ pool, input }: Ports): void {
    for (const name in input) {
      const link = input[name];
      for (let n = link.count; n > 0; n--) {
        const packet = link.take();
        this.#packets += pool.segments[packet];
        this.#bytes += pool.length[packet];
        pool.free(packet);
      }
    }
  }

  report(): AppReport {
    return { packets: this.#packets, bytes: this.#bytes };
  }
}

export const tee = defineApp({
  module: import.meta.url,
  export: 'tee',
  check: noOptions,
  create: () => new Tee(),
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
