/**
 * Source -> Tee -> 2 Sinks through the public `App` interface, reports and all: what `bench/c/engine.c` does in C. Rates
 * are counted at the sinks, so two for each packet of the source.
 *
 *   node engine.js [seconds] [shared|copies] [burst|single]
 */
import { pathToFileURL } from 'node:url';
import { type App, Network, type Ports } from 'tunconnector';
import { sink, tee } from 'tunconnector/engine';
import { BreathRuntime } from './breath-runtime.js';

const BURST = 256;
const LENGTH = 60;

/** As many packets of 60 bytes as there is room for, at most a burst in a breath. */
export class Source implements App {
  readonly inputs = [];
  readonly outputs = ['out'];
  readonly superframes = true;
  #template = -1;
  #pool: Ports['pool'] | undefined;
  /** A cell, for a double in a field may be a new object with every sum. */
  readonly made = new Float64Array(1);

  open({ pool, account }: { pool: Ports['pool']; account: number }): void {
    this.#pool = pool;
    this.#template = pool.copyIn(
      Uint8Array.from({ length: LENGTH }, (_, i) => i),
      3,
      account,
    );
  }

  pull({ output }: Ports, room: number): boolean {
    this.made[0] += output.out.putStamped(this.#template, Math.min(room, BURST));
    return true;
  }

  close(): void {
    this.#pool!.free(this.#template);
  }
}

/** The same the way a newcomer writes it: packet by packet. */
class SimpleSource extends Source {
  #own = 0;
  #template = new Uint8Array(LENGTH);
  override open(context: { pool: Ports['pool']; account: number }): void {
    super.open(context);
    this.#own = context.account;
  }
  override pull({ pool, output }: Ports, room: number): boolean {
    for (let n = Math.min(room, BURST); n > 0; n--) {
      const packet = pool.alloc(this.#own);
      if (packet < 0) return true;
      const at = pool.offset[packet];
      for (let i = 0; i < LENGTH; i++) pool.slab[at + i] = this.#template[i];
      pool.length[packet] = LENGTH;
      output.out.put(packet);
      this.made[0]++;
    }
    return true;
  }
}

/** A filter as in the first example of the documentation. */
class PassEven implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes = true;
  push({ pool, input, output }: Ports): void {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet] & 1) pool.free(packet);
      else output.out.put(packet);
    }
  }
}

export interface EngineRates {
  /** At the sinks. */
  packetsPerSecond: number;
  sourcePacketsPerSecond: number;
  /** At the sinks, by the processor time of the measurement: for machines that do other things as well. */
  packetsPerCpuSecond: number;
}

export interface EngineMeasurement {
  seconds: number;
  /** The tee gives each branch bytes of its own. */
  copies: boolean;
  /** A source and a filter that move packets one by one stand before the tee. */
  single?: boolean;
}

export async function measureEngine({ seconds, copies, single }: EngineMeasurement): Promise<EngineRates> {
  const runtime = new BreathRuntime();
  const source = single ? new SimpleSource() : new Source();
  const net = new Network(runtime).app('source', source).app('tee', tee({ copies }));
  net.app('one', sink({})).app('two', sink({}));
  if (single) net.app('even', new PassEven()).link('source.out -> even.in').link('even.out -> tee.in');
  else net.link('source.out -> tee.in');
  await net.link('tee.one -> one.in').link('tee.two -> two.in').start();

  runtime.breathe(0.5);
  const sunk = () => net.get('one').report!().packets as number;
  const before = { sunk: sunk() * 2, made: source.made[0] };
  const spent = process.cpuUsage();
  const took = runtime.breathe(seconds);
  const cpu = process.cpuUsage(spent);
  const report = net.report();
  const after = report.apps.filter((a) => a.app === 'one' || a.app === 'two');
  const packets = after.reduce((sum, a) => sum + (a.report.packets as number), 0);
  const bytes = after.reduce((sum, a) => sum + (a.report.bytes as number), 0);
  const made = source.made[0];
  const carried = report.links.reduce((sum, link) => sum + link.packets, 0);
  await net.close();
  if (packets !== 2 * made || bytes !== packets * LENGTH || carried !== made * (single ? 4 : 3)) {
    throw new Error(`the counters do not agree: ${made} made, ${carried} carried, ${packets} sunk`);
  }
  return {
    packetsPerSecond: (packets - before.sunk) / took,
    sourcePacketsPerSecond: (made - before.made) / took,
    packetsPerCpuSecond: (packets - before.sunk) / ((cpu.user + cpu.system) / 1e6),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [seconds = '1', kind = 'shared', style = 'burst'] = process.argv.slice(2);
  const rates = await measureEngine({
    seconds: Number(seconds),
    copies: kind === 'copies',
    single: style === 'single',
  });
  console.log(JSON.stringify({ kind, style, ...rates }));
}
