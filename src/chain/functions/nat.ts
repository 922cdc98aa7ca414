/**
 * The source NAT of `src/chain/nat` as a function: the way there goes from inside to outside. Packets keep their prefix, and flows
 * their id: the chain's end sees the translated packets.
 */
import type { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../../engine/app.ts';
import { Link } from '../../engine/link.ts';
import { checkNat, NatApp, type NatAppOptions, type natSchema } from '../nat/app.ts';
import type { NatSession } from '../nat/nat.ts';
import type { VnfExport } from '../vnf/app.ts';
import type { Vnf } from '../vnf/define.ts';
import { PrefixInHand } from '../vnf/prefix-in-hand.ts';

export class NatFunction implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly required = ['in', 'out'];
  readonly layers: Readonly<Record<string, Layer>> = { in: 'L3', out: 'L3' };
  readonly superframes = true;
  readonly #nat: NatApp;
  readonly limits: NatApp['limits'];
  readonly due: Float64Array;
  readonly #prefix = new PrefixInHand();
  #ports!: { pool: Ports['pool']; input: Record<string, Link>; output: Record<string, Link>; now: number };
  #context!: AppContext;
  #imported: VnfExport | undefined;

  constructor(options: z.output<typeof natSchema>) {
    this.#nat = new NatApp(options);
    this.limits = this.#nat.limits;
    this.due = this.#nat.due;
  }

  open(context: AppContext): void {
    const { pool } = context;
    this.#context = context;
    this.#nat.open(context);
    const input = { inside: new Link('inside', pool), outside: new Link('outside', pool) };
    this.#ports = { pool, input, output: {}, now: 0 };
    if (this.#imported) this.importState(this.#imported);
  }

  push({ pool, input, output, now }: Ports): void {
    const { inside, outside } = this.#ports.input;
    for (let n = Math.min(input.in.waiting, inside.room, outside.room); n > 0; n--) {
      const packet = input.in.take();
      // Without a prefix nobody knows which way it goes.
      const refused = this.#prefix.read(pool, packet);
      if (refused >= 0) pool.drop(packet, refused);
      else (this.#prefix.isBack ? outside : inside).put(packet);
    }
    const ports = this.#ports;
    inside.downstream = outside.downstream = [output.out];
    ports.output.inside = ports.output.outside = output.out;
    ports.now = now;
    this.#nat.push(ports);
  }

  held(): number {
    const { inside, outside } = this.#ports.input;
    return this.#nat.held() + inside.count + outside.count;
  }

  exportState(): VnfExport {
    return { name: 'nat', state: this.#nat.exportState(), flows: [] };
  }

  importState(exported: VnfExport): void {
    if (this.#context === undefined) {
      this.#imported = exported;
      return;
    }
    this.#imported = undefined;
    if (exported.state !== undefined)
      this.#nat.importState(exported.state as NatSession[], this.#context.runtime.now());
  }

  report(): AppReport {
    return { function: 'nat', ...this.#nat.report() };
  }

  close(): void {
    const { pool, input } = this.#ports ?? {};
    for (const link of Object.values(input ?? {})) while (link.count > 0) pool.free(link.take());
    this.#nat.close();
  }
}

export const natFunction: Vnf<NatAppOptions> = Object.assign(
  defineApp<NatAppOptions, z.output<typeof natSchema>>({
    module: import.meta.url,
    export: 'natFunction',
    check: checkNat,
    create: (options) => new NatFunction(options),
  }),
  { vnf: 'nat' },
);
