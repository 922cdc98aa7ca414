import { expect, it } from 'vitest';
import type { App, AppContext, Ports } from '../../src/engine/app.ts';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import { Network } from '../../src/engine/network.ts';

const MS = 1_000_000;

it('no packet came later than what an app takes for now, however long it took to bring it in', async () => {
  const runtime = new LiveRuntime();
  const came: number[] = [];
  const seen: number[] = [];
  /** Each packet comes while others are being brought in already: it is there 2 ms after the breath has begun. */
  class Slow implements App {
    readonly inputs = [];
    readonly outputs = ['out'];
    #account = 0;
    open({ account }: AppContext): void {
      this.#account = account;
    }
    pull({ pool, output, now }: Ports): boolean {
      if (came.length === 5) return false;
      while (runtime.now() < now + 2 * MS);
      came.push(runtime.now());
      output.out.put(pool.alloc(this.#account));
      return true;
    }
  }
  class Look implements App {
    readonly inputs = ['in'];
    readonly outputs = [];
    push({ pool, input, now }: Ports): void {
      for (let n = input.in.waiting; n > 0; n--) {
        pool.free(input.in.take());
        seen.push(now);
      }
    }
  }
  const network = new Network(runtime, { memory: 64 << 20 });
  await network.app('slow', new Slow()).app('look', new Look()).link('slow.out -> look.in').start();
  await expect.poll(() => seen.length).toBe(5);
  await network.close();
  for (const [i, time] of seen.entries()) expect(time).toBeGreaterThanOrEqual(came[i]);
});
