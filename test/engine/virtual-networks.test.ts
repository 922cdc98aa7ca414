/** In which order networks breathe in virtual time, and what those cost that sleep. */
import { describe, expect, it } from 'vitest';
import { VirtualRuntime } from '../../src/engine/index.ts';
import type { Driven } from '../../src/engine/runtime.ts';

/** A network that notes when it breathes, and then does as it is told. */
function fake(name: string, log: string[], then: () => boolean | undefined = () => false) {
  const deadline = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  const network: Driven & { failures: unknown[] } = {
    failures: [],
    deadline,
    breathe: () => {
      log.push(name);
      deadline[0] = Number.POSITIVE_INFINITY;
      return then() ?? false;
    },
    fail: (error) => void network.failures.push(error),
  };
  return network;
}

describe('networks on one virtual runtime', () => {
  it('breathe in the order in which they came; one that wakes an earlier one has it in the next round', () => {
    const log: string[] = [];
    const runtime = new VirtualRuntime();
    let waking = false;
    const a = runtime.drive(fake('a', log));
    const b = runtime.drive(
      fake('b', log, () => {
        if (!waking) return;
        waking = false;
        a.wake();
        c.wake();
      }),
    );
    const c = runtime.drive(fake('c', log));
    runtime.advance(0);
    expect(log.splice(0)).toEqual(['a', 'b', 'c']);
    waking = true;
    b.wake();
    runtime.advance(0);
    expect(log.splice(0)).toEqual(['b', 'c', 'a']);
    c.wake();
    a.wake();
    runtime.advance(0);
    expect(log).toEqual(['a', 'c']);
  });

  it('run again for as long as there is more, and when their time has come', () => {
    const log: string[] = [];
    const runtime = new VirtualRuntime();
    let more = 3;
    const network: Driven = fake('a', log, () => {
      network.deadline[0] = 5_000;
      return --more > 0;
    });
    runtime.drive(network);
    runtime.advance(0);
    expect(log).toHaveLength(3);
    runtime.runTo(4_999);
    expect(log).toHaveLength(3);
    network.deadline[0] = 5_000;
    more = 0;
    network.breathe = () => {
      log.push(`at ${runtime.now()}`);
      network.deadline[0] = Number.POSITIVE_INFINITY;
      return false;
    };
    runtime.runTo(9_000);
    expect(log.slice(3)).toEqual(['at 5000']);
  });

  it('that fail are told, and do not keep the others from running', () => {
    const log: string[] = [];
    const runtime = new VirtualRuntime();
    const bad = fake('bad', log, () => {
      throw new Error('no');
    });
    const driver = runtime.drive(bad);
    runtime.drive(fake('good', log));
    expect(() => runtime.advance(0)).toThrow('no');
    expect(bad.failures).toHaveLength(1);
    driver.stop();
    runtime.advance(0);
    expect(log).toEqual(['bad', 'good']);
    driver.wake();
    runtime.advance(0);
    expect(log).toEqual(['bad', 'good']);
  });

  it('that sleep cost nothing: a step with 5000 of them is as long as with 10', () => {
    let looked = 0;
    const runtime = new VirtualRuntime();
    for (let n = 0; n < 5000; n++) {
      const network = fake('sleeper', []);
      const { deadline } = network;
      runtime.drive({
        ...network,
        get deadline() {
          looked++;
          return deadline;
        },
      });
    }
    runtime.advance(0);
    looked = 0;
    let ticks = 0;
    const tick = () => void (++ticks < 1000 && runtime.timer(runtime.now() + 1000, tick));
    runtime.timer(1000, tick);
    runtime.advance('10ms');
    expect(ticks).toBe(1000);
    expect(looked).toBe(0);
  });
});

describe('virtual time, event by event', () => {
  /** Timers and networks that set each other off, for a while. */
  function scene() {
    const log: string[] = [];
    const runtime = new VirtualRuntime({ seed: 3 });
    const random = runtime.random('scene');
    const drivers = [0, 1, 2].map((n) =>
      runtime.drive(
        fake(`network ${n}`, log, () => {
          if (log.length > 300) return;
          const at = runtime.now() + Math.floor(random.unit() * 3) * 1000;
          runtime.timer(at, () => {
            log.push(`timer of ${n} at ${runtime.now()}`);
            drivers[(n + 1) % 3]!.wake();
            drivers[Math.floor(random.unit() * 3)]!.wake();
          });
        }),
      ),
    );
    return { log, runtime };
  }

  it('is what it is without a pause, and tells how many events there were', () => {
    const whole = scene();
    whole.runtime.runTo(1e9);
    expect(whole.log.length).toBeGreaterThan(300);
    expect(whole.runtime.events).toBe(whole.log.length);
    const stepped = scene();
    let steps = 0;
    while (stepped.runtime.step(1e9)) {
      steps++;
      expect(stepped.runtime.events).toBe(steps);
      expect(stepped.log).toHaveLength(steps);
    }
    expect(stepped.log).toEqual(whole.log);
    expect(stepped.runtime.now()).toBeLessThan(1e9);
  });

  it('goes no further than it is told', () => {
    const runtime = new VirtualRuntime();
    const fired: number[] = [];
    for (const at of [10, 20, 20, 30]) runtime.timer(at, () => fired.push(at));
    while (runtime.step(20));
    expect(fired).toEqual([10, 20, 20]);
    expect(runtime.now()).toBe(20);
  });
});
