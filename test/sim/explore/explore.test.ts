/** Search over seeds, scripts that are made smaller, and tests in a simulation that say where they failed. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { explore, type Fault, type Scenario, Simulation, shrink, simulate } from '../../../src/sim/index.ts';

const MS = 1e6;
const LINK = { both: 'delay 5ms', flows: 16, packets: 64, superframes: 2 };
const PAIR = {
  hosts: { a: {}, b: {} },
  links: {
    wire: {
      between: [
        { host: 'a', addresses: ['10.0.0.1/24'] },
        { host: 'b', addresses: ['10.0.0.2/24'] },
      ] as [{ host: string; addresses: string[] }, { host: string; addresses: string[] }],
      impair: LINK,
    },
  },
};

/** b keeps what a sends and says so; with the mistake, long before it is on the disk. */
function keeper(isWrong: boolean): Scenario {
  const kept = new Set<number>();
  let found: Set<number> | undefined;
  return {
    topology: PAIR,
    faults: { during: ['1s', '6s'], count: 6, longest: '1s' },
    time: '8s',
    programs: {
      b: ({ runtime }) => {
        const storage = runtime.storage('kept');
        storage.read('log', (_, bytes = new Uint8Array(0)) => {
          found = new Set(bytes);
          const socket = runtime.datagrams('0.0.0.0:9', {
            onMessage: (from, bytes) => {
              storage.append('log', bytes);
              const say = () => socket.send(from, bytes);
              const sync = () => storage.sync('log', (error) => void (!isWrong && !error && say()));
              if (isWrong) say();
              runtime.timer(runtime.now() + (isWrong ? 300 * MS : 0), sync);
            },
          });
        });
      },
      a: ({ runtime }) => {
        let next = 1;
        const socket = runtime.datagrams('0.0.0.0:0', { onMessage: (_, [byte]) => kept.add(byte!) });
        const send = () => {
          socket.send('10.0.0.2:9', Uint8Array.of(next++));
          if (next < 250) runtime.timer(runtime.now() + 20 * MS, send);
        };
        send();
      },
    },
    check: async (sim) => {
      const acknowledged = [...kept];
      await sim.host('b').crash();
      await sim.host('b').start();
      await sim.run('100ms');
      const lost = acknowledged.filter((byte) => !found!.has(byte));
      if (lost.length > 0) throw new Error(`${lost.length} that were acknowledged are gone`);
    },
  };
}

describe('a search', { timeout: 120_000 }, () => {
  it('finds nothing wrong where nothing is', async () => {
    const { runs, failures } = await explore(() => keeper(false), { seeds: [1, 2, 3, 4, 5, 6] });
    expect(failures).toEqual([]);
    expect(runs).toBe(6);
  });

  it('finds what is wrong, and the smallest script for it: one crash', async () => {
    const seen: number[] = [];
    const { failures } = await explore(() => keeper(true), {
      seeds: Array.from({ length: 40 }, (_, n) => n + 1),
      onRun: (seed) => seen.push(seed),
      tries: 60,
    });
    const [failure] = failures;
    expect(failure).toMatchObject({ seed: seen.at(-1), error: { message: /acknowledged are gone/ } });
    expect(failure!.drawn).toHaveLength(6);
    // That at the end alone may do: then nothing has to go wrong before.
    expect(failure!.faults.length).toBeLessThanOrEqual(1);
    for (const fault of failure!.faults) expect(Object.keys(fault)).toContain('crash');
  });

  it('knows after which event something was wrong', async () => {
    const { failures } = await explore(
      () => ({
        ...{ topology: PAIR, time: '2s' },
        programs: { a: ({ runtime, log }) => void runtime.timer(500 * MS, () => log('x')) },
        always: (sim) => {
          if (sim.runtime.now() >= 500 * MS) throw new Error('late');
        },
      }),
      { seeds: [9], shrink: false },
    );
    expect(failures[0]).toMatchObject({ seed: 9, at: 500 * MS, host: 'a', tries: 0 });
    expect(failures[0]!.event).toBeGreaterThan(0);
  });
});

describe('shrinking', () => {
  it('leaves what is needed, as simple as it may be', async () => {
    const script = Array.from({ length: 40 }, (_, n) => n * 3);
    const fails = async (each: readonly number[]) =>
      each.some((n) => n >= 30 && n < 60) && each.some((n) => n >= 90);
    const { script: found, tries } = await shrink(script, fails, (n) => (n > 0 ? [n - 1] : []));
    expect(found).toEqual([30, 90]);
    expect(tries).toBeLessThan(150);
  });

  it('ends when it has tried as often as it may', async () => {
    const { tries } = await shrink([1, 2, 3, 4, 5, 6, 7, 8], async (each) => each.length > 5, undefined, 3);
    expect(tries).toBe(3);
  });
});

describe('time', { timeout: 60_000 }, () => {
  it('goes on to an event, a packet, or until something has become so', async () => {
    await using sim = await Simulation.start(PAIR);
    void sim.host('a').stack.ping('10.0.0.2');
    expect(await sim.runTo({ packet: 2 })).toBe(true);
    expect([sim.packets, sim.runtime.now()]).toEqual([2, 5 * MS]);
    let answered = false;
    const end = sim.breakOn(({ packets }) => {
      answered ||= packets >= 4;
      return answered;
    });
    expect(await sim.run('1s')).toBe(false);
    expect(sim.runtime.now()).toBe(10 * MS);
    // It has become so once.
    expect(await sim.run('1s')).toBe(true);
    end();
    expect(await sim.runTo({ event: sim.events })).toBe(true);
    expect(await sim.runTo({ packet: 1000 })).toBe(false);
  });
});

describe('a test in a simulation', { timeout: 60_000 }, () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });
  const faults: Fault[] = [{ at: '200ms', down: 'wire' }];
  const failing = () =>
    simulate({ ...PAIR, seed: 5, faults }, async (net) => {
      const ping = net.host('a').stack.ping('10.0.0.2', { timeout: 10 * MS });
      await net.run('300ms');
      await ping;
      expect(net.host('b').isUp).toBe(false);
    });

  it('that fails says seed, time, event and host, and how to see it happen', async () => {
    const error = await failing().catch((error: Error) => error);
    const { message } = error as Error;
    expect(message).toMatch(/expected true to be false/);
    const [, event] = /seed 5, 0\.3 s, event (\d+), host [ab]/.exec(message)!;
    expect(message).toContain('0.2 s link wire is down');
    expect(message).toContain(
      `TUNCONNECTOR_SIM_REPLAY=5:${Number(event) - 1} npx vitest run --inspect-brk --no-file-parallelism test/sim/explore/explore.test.ts -t 'that fails says seed, time, event and host, and how to see it happen'`,
    );
  });

  it('is run by another seed when that is asked for', async () => {
    vi.stubEnv('TUNCONNECTOR_SIM_REPLAY', '77');
    expect(await simulate(PAIR, (net) => net.seed)).toBe(77);
    expect(((await failing().catch((error: Error) => error)) as Error).message).toContain('seed 77');
  });
});
