/** Simulated networks: hosts with stacks of their own, links that are impairments, clocks, faults, and the same run every time. */
import { describe, expect, it } from 'vitest';
import { type App, Network } from '../../src/engine/index.ts';
import type { Channel } from '../../src/engine/outside.ts';
import { type Program, Simulation, type Topology } from '../../src/sim/index.ts';

const MS = 1e6;

/** a - r - b: 10 ms and 20 ms away. */
const LINE = (more: Partial<Topology> = {}): Topology => ({
  seed: 7,
  hosts: { a: {}, r: { forward: true }, b: {} },
  links: {
    left: {
      between: [
        { host: 'a', addresses: ['10.0.1.1/24', 'fd01::1/64'] },
        { host: 'r', addresses: ['10.0.1.254/24', 'fd01::254/64'] },
      ],
      impair: 'delay 10ms',
    },
    right: {
      between: [
        { host: 'r', addresses: ['10.0.2.254/24', 'fd02::254/64'] },
        { host: 'b', addresses: ['10.0.2.1/24', 'fd02::1/64'] },
      ],
      impair: 'delay 20ms',
    },
  },
  ...more,
});

describe('a simulated network', () => {
  it.each(['10.0.2.1', 'fd02::1'])('finds the way to %s, and takes as long as its links are', async (to) => {
    await using sim = await Simulation.start(LINE());
    const ping = sim.host('a').stack.ping(to);
    await sim.run('1s');
    expect(await ping).toMatchObject({ time: 60 * MS });
    expect(sim.runtime.now()).toBe(1e9);
  });

  it('runs ordinary promises of programs at the instants at which they belong', async () => {
    const times: number[] = [];
    const a: Program = async (host) => {
      const pings = async () => {
        for (let n = 0; n < 3; n++) {
          await host.stack.ping('10.0.2.1');
          times.push(host.runtime.now());
        }
      };
      void pings();
    };
    await using sim = await Simulation.start(LINE(), { programs: { a } });
    await sim.run('1s');
    expect(times).toEqual([60 * MS, 120 * MS, 180 * MS]);
  });

  it('carries channels and datagrams of protocol cores over TCP and UDP of its hosts', async () => {
    const heard: string[] = [];
    const b: Program = ({ runtime }) => {
      runtime.listen('10.0.2.1:80', {
        onChannel: (channel) => ({
          onMessage: (bytes) => void channel.send(Uint8Array.from(bytes).reverse()),
          onClose: (error) => heard.push(`b: closed ${error?.message ?? 'well'}`),
        }),
      });
      const socket = runtime.datagrams('0.0.0.0:53', {
        onMessage: (from, bytes) => socket.send(from, Uint8Array.of(bytes[0]! + 1)),
      });
    };
    let channel: Channel | undefined;
    const a: Program = ({ runtime }) => {
      const socket = runtime.datagrams('0.0.0.0:0', {
        onMessage: (from, [byte]) => heard.push(`a: ${byte} from ${from} at ${runtime.now() / MS}`),
      });
      socket.send('10.0.2.1:53', Uint8Array.of(41));
      channel = runtime.connect('10.0.2.1:80', {
        onOpen: () => heard.push(`a: open at ${runtime.now() / MS}`),
        onMessage: (bytes) => heard.push(`a: ${bytes.join(' ')} at ${runtime.now() / MS}`),
        onClose: (error) => heard.push(`a: ${error?.errno}`),
      });
      channel.send(Uint8Array.of(1, 2, 3));
    };
    await using sim = await Simulation.start(LINE(), { programs: { a, b } });
    await sim.run('500ms');
    expect(heard.splice(0)).toEqual(['a: 42 from 10.0.2.1:53 at 60', 'a: open at 60', 'a: 3 2 1 at 120']);
    const large = Uint8Array.from({ length: 300_000 }, (_, n) => n % 251);
    channel!.send(large);
    await sim.run('2s');
    expect(heard.splice(0).map((line) => line.replace(/ at .*/, ''))).toEqual([
      `a: ${[...large].reverse().join(' ')}`,
    ]);
    channel!.close();
    await sim.run('1s');
    expect(heard).toEqual(['b: closed well']);
  });

  it('is told of what it is not: hosts, links, faults', async () => {
    await expect(Simulation.start(LINE({ hosts: { a: {}, r: {} } }))).rejects.toThrow(/right.*"b"/);
    const twice = LINE();
    twice.links!.right!.between[1] = 'b 10.0.1.1/24';
    await expect(Simulation.start(twice)).rejects.toThrow('10.0.1.1/24 is that of a, too');
    await expect(Simulation.start(LINE(), { faults: [{ at: 1, down: 'middle' }] })).rejects.toThrow(
      /faults\.0\.down: found "middle"/,
    );
    await expect(Simulation.start(LINE(), { programs: { c: () => {} } })).rejects.toThrow('no host c');
  });
});

describe('faults', () => {
  it('take links down and up, change them, and stop and start hosts', async () => {
    const starts: number[] = [];
    await using sim = await Simulation.start(LINE(), {
      programs: { b: ({ runtime }) => void starts.push(Number(runtime.startOfTime % BigInt(1e12))) },
      faults: [
        { at: '3s', crash: 'b' },
        { at: '1s', down: 'left' },
        { at: '2s', up: 'left' },
        { at: '2s', link: 'right', impair: 'delay 50ms' },
        { at: '4s', start: 'b' },
      ],
    });
    const ping = async () => {
      const asked = sim.host('a').stack.ping('10.0.2.1', { timeout: 500 * MS });
      await sim.run('600ms');
      const { result, time } = await asked;
      return result === 'reply' ? time : undefined;
    };
    expect(await ping()).toBe(60 * MS);
    await sim.runTo(1.1e9);
    expect(await ping()).toBeUndefined();
    await sim.runTo(2.1e9);
    expect(await ping()).toBe(120 * MS);
    await sim.runTo(3.1e9);
    expect(await ping()).toBeUndefined();
    expect(sim.host('b').isUp).toBe(false);
    await sim.runTo(4.1e9);
    expect(await ping()).toBe(120 * MS);
    expect(starts).toEqual([0, 4e9]);
    expect(sim.log.map(({ at, text }) => `${at / 1e9} ${text}`)).toEqual([
      '1 link left is down',
      '2 link left is up',
      '2 link right is delay 50ms',
      '3 host b crashes',
      '4 host b starts',
    ]);
  });

  it('take from a crashed host what its disk had not synced, and its timers', async () => {
    const found: unknown[] = [];
    let ticks = 0;
    const b: Program = ({ runtime }) => {
      const storage = runtime.storage('state');
      storage.read('log', (_, bytes) => {
        found.push(bytes?.length);
        storage.append('log', new Uint8Array(10));
        storage.sync('log', () => storage.append('log', new Uint8Array(1000)));
      });
      const tick = () => {
        ticks++;
        runtime.timer(runtime.now() + 100 * MS, tick);
      };
      tick();
    };
    await using sim = await Simulation.start(LINE(), {
      programs: { b },
      faults: [
        { at: '1s', crash: 'b' },
        { at: '10s', start: 'b' },
      ],
    });
    await sim.runTo(5e9);
    expect(ticks).toBe(11);
    await sim.runTo(11e9);
    expect(found[0]).toBeUndefined();
    expect(found[1]).toBeGreaterThanOrEqual(10);
    expect(found[1]).toBeLessThan(1010);
  });

  it('tell the programs of a host that crashes nothing of it', async () => {
    const told: string[] = [];
    const programs: Record<string, Program> = {
      a: ({ stack }) => void stack.listen({ port: 80 }, () => ({ onClosed: () => told.push('a') })),
      b: ({ stack, runtime }) => {
        stack.connect({ address: '10.0.1.1', port: 80 }, { onClosed: () => told.push('b') });
        runtime.connect('10.0.1.1:80', { onMessage: () => {}, onClose: () => told.push('b') });
      },
    };
    await using sim = await Simulation.start(LINE(), { programs, faults: [{ at: '1s', crash: 'b' }] });
    await sim.run('2s');
    expect(sim.host('a').stack.tcp.connections).toBe(2);
    expect(told).toEqual([]);
  });

  it('start hosts whose apps wait for no whole number of nanoseconds: time is whole all the same', async () => {
    const times: number[] = [];
    class Thirds implements App {
      readonly due = new Float64Array(1);
      push(): void {
        times.push(sim.runtime.now());
        this.due[0]! += 1e9 / 3;
      }
    }
    const b: Program = async (host) => {
      await new Network(host.runtime, { memory: 1 << 24 }).app('thirds', new Thirds()).start();
    };
    const sim = await Simulation.start(LINE(), {
      programs: { b },
      faults: [{ at: 1234567891, for: 1111, crash: 'b' }],
    });
    await sim.run('10s');
    expect(times.length).toBeGreaterThan(25);
    expect(times.filter((time) => !Number.isInteger(time))).toEqual([]);
    await sim[Symbol.asyncDispose]();
  });

  it('make clocks wrong: what waits for a time of a host waits for the same one of a slower clock', async () => {
    const seen: number[] = [];
    const a: Program = ({ runtime }) => {
      for (const at of [1e9, 3e9]) runtime.timer(at, () => seen.push(sim.runtime.now()));
    };
    const sim = await Simulation.start(LINE(), {
      programs: { a },
      faults: [{ at: '2s', host: 'a', ppm: -50_000 }],
    });
    await sim.runTo(10e9);
    expect(seen[0]).toBe(1e9);
    // 1 s by a clock that needs 1/0.95 of the time.
    expect(seen[1]).toBe(2e9 + Math.ceil(1e9 / 0.95));
    expect(sim.host('a').runtime.now()).toBe(2e9 + 8e9 * 0.95);
    await sim[Symbol.asyncDispose]();
  });
});

describe('the same run', () => {
  const lossy = (seed: number): Topology => {
    const line = LINE({ seed });
    line.links!.left!.impair = 'delay 10ms 2ms loss 5%';
    return line;
  };
  /** Sends 200 KB to b, which counts. */
  const programs = (): Record<string, Program> => ({
    b: (host) => {
      let bytes = 0;
      host.stack.listen({ port: 80 }, (connection) => {
        const into = new Uint8Array(65536);
        return {
          onReadable: () => {
            for (let n = connection.read(into); n > 0; n = connection.read(into)) bytes += n;
          },
          onEnd: () => {
            host.log(`${bytes} bytes`);
            connection.end();
          },
        };
      });
    },
    a: ({ stack }) => {
      const connection = stack.connect(
        { address: '10.0.2.1', port: 80 },
        {
          onConnected: () => {
            connection.write(new Uint8Array(200_000));
            connection.end();
          },
        },
      );
    },
  });

  it('comes of the same seed, another one of another, event by event', async () => {
    const prints = new Map<number, string>();
    for (const seed of [1, 2, 3, 1, 2, 3]) {
      await using sim = await Simulation.start(lossy(seed), { programs: programs() });
      await sim.run('20s');
      expect(sim.log.map(({ host, text }) => `${host}: ${text}`)).toEqual(['b: 200000 bytes']);
      expect(prints.get(seed) ?? sim.fingerprint).toBe(sim.fingerprint);
      prints.set(seed, sim.fingerprint);
    }
    expect(new Set(prints.values()).size).toBe(3);
  });

  it('can be stepped back: to the event before, from which one step leads to where it was', async () => {
    await using sim = await Simulation.start(lossy(4), { programs: programs() });
    expect(await sim.runUntil(() => sim.log.length > 0, 20e9)).toBe(true);
    await using before = await sim.stepBack();
    expect(before.events).toBe(sim.events - 1);
    expect(before.log).toEqual([]);
    await before.runToEvent(sim.events);
    expect(before.log).toEqual(sim.log);
    expect(before.fingerprint).toBe(sim.fingerprint);
  });

  it('is not changed for the others by a host that is added', async () => {
    const times = async (topology: Topology) => {
      await using sim = await Simulation.start(topology, { programs: programs() });
      await sim.run('20s');
      return sim.log.map(({ at, text }) => `${at} ${text}`);
    };
    const larger = lossy(5);
    larger.hosts!.c = {};
    larger.links!.extra = {
      between: [
        { host: 'r', addresses: ['10.0.3.254/24'] },
        { host: 'c', addresses: ['10.0.3.1/24'] },
      ],
      impair: 'loss 50%',
    };
    expect(await times(larger)).toEqual(await times(lossy(5)));
  });
});
