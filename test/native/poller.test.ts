import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { PollEvent } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { needs } from '../needs.ts';
import { pattern, RETRY, setRow, TestPool, UdpEnd } from './support.ts';

const MS = 1e6;
const root = fileURLToPath(new URL('../..', import.meta.url));
/** The addon without TypeScript around it, for workers and processes of their own. */
const loadAddon = process.env.TUNCONNECTOR_NATIVE?.startsWith('/')
  ? `require(${JSON.stringify(process.env.TUNCONNECTOR_NATIVE)})`
  : `require('node-gyp-build')(${JSON.stringify(root)})`;
const prelude = `
  const { createRequire } = require('module');
  const addon = ((require) => ${loadAddon})(createRequire(${JSON.stringify(`${root}package.json`)}));`;

const pollers: number[] = [];
const ends: UdpEnd[] = [];
afterEach(() => {
  for (const poller of pollers.splice(0)) native().pollerClose(poller);
  for (const end of ends.splice(0)) end.close();
});

function poller(pairs = 16) {
  const ready = new Int32Array(2 * pairs);
  const times = Float64Array.of(0, Number.POSITIVE_INFINITY);
  const epoch = native().now();
  const id = native().pollerOpen(ready, times, epoch);
  pollers.push(id);
  return { id, ready, times, epoch };
}

function pair() {
  const pool = new TestPool();
  const a = new UdpEnd(pool);
  const b = new UdpEnd(pool);
  ends.push(a, b);
  setRow(a.addresses, 0, '127.0.0.1', b.handle.port);
  const send = () => a.send([a.to(0, pattern(10, 1))]);
  const drain = () => {
    for (const handle of b.receive()) pool.free(handle);
  };
  return { a, b, send, drain };
}

describe('waiting', () => {
  test('ends at the deadline and never before', () => {
    const { id } = poller();
    for (const ns of [0, 1, 999, 50_000, 100_000, 1 * MS, 3 * MS]) {
      for (let i = 0; i < 20; i++) {
        const deadline = native().now() + ns;
        expect(native().pollerWait(id, deadline)).toBe(0);
        expect(native().now()).toBeGreaterThanOrEqual(deadline);
      }
    }
  });

  /** What a thread does that sleeps between packets, and is answered at once or not: its processor time, ms. */
  function idleRounds({ answered }: { answered: boolean }): number {
    const { id } = poller();
    const { b, send, drain } = pair();
    native().pollerAdd(id, b.fd, 1, PollEvent.read);
    const before = process.cpuUsage();
    for (let i = 0; i < 200; i++) {
      native().pollerWait(id, native().now() + 2 * MS);
      if (answered) send();
      const deadline = native().now() + 2 * MS;
      const found = native().pollerWait(id, deadline);
      expect(found).toBe(answered ? 1 : 0);
      if (!answered) expect(native().now()).toBeGreaterThanOrEqual(deadline);
      drain();
    }
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  }

  test('looks for an answer before it sleeps only where answers come', () => {
    // Looking for an answer that never comes would take 80 ms more.
    const answered = idleRounds({ answered: true });
    expect(idleRounds({ answered: false })).toBeLessThan(answered + 60);
  });

  /** Waits of 1 ms, for the network's deadline or another one: how late each ended, ns, and the processor's time, ms. */
  function timedRounds(rounds: number, { exact }: { exact: boolean }) {
    const { id, times, epoch } = poller();
    const late: number[] = [];
    const before = process.cpuUsage();
    for (let i = 0; i < rounds; i++) {
      const own = native().now() - epoch + MS;
      const deadline = own + epoch;
      if (exact) times[1] = own;
      expect(native().pollerWait(id, deadline)).toBe(0);
      late.push(native().now() - deadline);
    }
    const { user, system } = process.cpuUsage(before);
    return { median: late.sort((a, b) => a - b)[rounds / 2], spent: (user + system) / 1000 };
  }

  test(
    "the network's deadlines are kept sharply, which costs no more than an eighth of the time",
    RETRY,
    () => {
      const rounds = 400;
      timedRounds(rounds, { exact: true });
      const roughly = timedRounds(rounds, { exact: false });
      const sharply = timedRounds(rounds, { exact: true });
      // Where timers are sharp by themselves, there is nothing to be gained.
      expect(sharply.median).toBeLessThan(Math.max(roughly.median / 2, 5000));
      expect(sharply.spent).toBeLessThan(roughly.spent + rounds / 8 + 40);
    },
  );

  test('with deadline 0, or one in the past, does not wait', () => {
    const { id } = poller();
    const start = native().now();
    for (let i = 0; i < 100; i++) {
      native().pollerWait(id, 0);
      native().pollerWait(id, start);
    }
    expect(native().now() - start).toBeLessThan(500 * MS);
  });

  test('a deadline that is no number is refused instead of waited for', () => {
    expect(native().pollerWait(poller().id, Number.NaN)).toBe(-constants.errno.EINVAL);
  });

  test('tells which descriptor is ready for what, again and again until it is read', () => {
    const { id, ready } = poller();
    const { a, b, send, drain } = pair();
    native().pollerAdd(id, b.fd, -7, PollEvent.read);
    expect(native().pollerWait(id, 0)).toBe(0);
    send();
    for (let i = 0; i < 3; i++) {
      expect(native().pollerWait(id, Number.POSITIVE_INFINITY)).toBe(1);
      expect([...ready.subarray(0, 2)]).toEqual([-7, PollEvent.read]);
    }
    drain();
    expect(native().pollerWait(id, 0)).toBe(0);
    native().pollerAdd(id, a.fd, 8, PollEvent.write);
    expect(native().pollerWait(id, 0)).toBe(1);
    expect([...ready.subarray(0, 2)]).toEqual([8, PollEvent.write]);
    native().pollerModify(id, a.fd, 8, 0);
    expect(native().pollerWait(id, 0)).toBe(0);
    native().pollerRemove(id, b.fd);
    send();
    expect(native().pollerWait(id, 0)).toBe(0);
  });

  test('with edges tells each readiness once', () => {
    const { id } = poller();
    const { b, send, drain } = pair();
    native().pollerAdd(id, b.fd, 1, PollEvent.read | PollEvent.edge);
    send();
    expect(native().pollerWait(id, 0)).toBe(1);
    expect(native().pollerWait(id, 0)).toBe(0);
    drain();
    send();
    expect(native().pollerWait(id, 0)).toBe(1);
  });

  test('more ready descriptors than rows come in turns', () => {
    const { id, ready } = poller(1);
    const seen = new Set<number>();
    for (let key = 1; key <= 3; key++) {
      const { b, send } = pair();
      native().pollerAdd(id, b.fd, key, PollEvent.read);
      send();
    }
    for (let i = 0; i < 20; i++) {
      expect(native().pollerWait(id, 0)).toBe(1);
      seen.add(ready[0]!);
    }
    expect([...seen].sort()).toEqual([1, 2, 3]);
  });

  test('is ended by another thread that has the number', async () => {
    const { id } = poller();
    const worker = new Worker(
      `${prelude}
       const { workerData, parentPort } = require('worker_threads');
       parentPort.postMessage('ready');
       setTimeout(() => addon.pollerWake(workerData), 30);`,
      { eval: true, workerData: id },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    const start = native().now();
    expect(native().pollerWait(id, start + 5000 * MS)).toBe(0);
    expect(native().now() - start).toBeLessThan(4000 * MS);
    await worker.terminate();
    // A wake-up from before counts for the next wait.
    native().pollerWake(id);
    expect(native().pollerWait(id, native().now() + 5000 * MS)).toBe(0);
    native().pollerWake(123456);
  });

  test('a descriptor cannot be added twice, and a number that is no poller is refused', () => {
    const { id } = poller();
    const { b } = pair();
    native().pollerAdd(id, b.fd, 1, PollEvent.read);
    expect(() => native().pollerAdd(id, b.fd, 1, PollEvent.read)).toThrow(
      expect.objectContaining({ code: 'EEXIST', syscall: 'epoll_ctl(ADD)' }),
    );
    expect(() => native().pollerAdd(9999, b.fd, 1, PollEvent.read)).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
    expect(native().pollerWait(9999, 0)).toBeLessThan(0);
    expect(() => native().pollerOpen(new Int32Array(1))).toThrow(RangeError);
  });
});

describe('watching', () => {
  test('wakes the event loop when something is ready, and when the deadline has passed', async () => {
    const { id, ready, times, epoch } = poller();
    const { b, send, drain } = pair();
    native().pollerAdd(id, b.fd, 5, PollEvent.read);
    const calls: { at: number; keys: number[] }[] = [];
    let told = () => {};
    let deadline = Number.POSITIVE_INFINITY;
    const turn = (n: number) => {
      calls.push({ at: times[0]!, keys: Array.from({ length: n }, (_, i) => ready[2 * i]!) });
      times[1] = deadline;
      drain();
      told();
      return undefined;
    };
    native().pollerWatch(id, turn, false);
    const next = () => new Promise<void>((resolve) => (told = resolve));
    send();
    await next();
    expect(calls.at(-1)!.keys).toEqual([5]);
    expect(Math.abs(native().now() - epoch - times[0]!)).toBeLessThan(1000 * MS);
    deadline = times[0]! + 20 * MS;
    native().pollerSoon(id);
    await next();
    await next();
    expect(calls.at(-1)).toMatchObject({ keys: [] });
    expect(calls.at(-1)!.at).toBeGreaterThanOrEqual(deadline);
    // Until it moves, for it has passed.
    await next();
    deadline = Number.POSITIVE_INFINITY;
    await next();
    // One that moves away: the timer that is set fires, and a turn for nothing is all that comes of it.
    deadline = times[0]! + 10 * MS;
    native().pollerSoon(id);
    await next();
    deadline = Number.POSITIVE_INFINITY;
    native().pollerSoon(id);
    await next();
    const before = calls.length;
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(calls.length).toBeLessThanOrEqual(before + 1);
    native().pollerWake(id);
    await next();
    expect(() => native().pollerWatch(id, turn, false)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
  });

  test('a turn that wants another one gets it, and the event loop has its own in between', async () => {
    const { id } = poller();
    let turns = 0;
    let immediates = 0;
    await new Promise<void>((resolve) => {
      const count = () => {
        immediates++;
        setImmediate(count);
      };
      setImmediate(count);
      native().pollerWatch(
        id,
        () => {
          if (++turns < 100) return true;
          resolve();
          return false;
        },
        false,
      );
      native().pollerSoon(id);
    });
    expect(turns).toBe(100);
    expect(immediates).toBeGreaterThan(50);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(turns).toBe(100);
  });

  test('the callback may close its own poller', async () => {
    const ready = new Int32Array(4);
    const id = native().pollerOpen(ready);
    await new Promise<void>((resolve) => {
      native().pollerWatch(
        id,
        () => {
          native().pollerClose(id);
          resolve();
          return true;
        },
        false,
      );
      native().pollerWake(id);
    });
    expect(native().pollerWait(id, 0)).toBeLessThan(0);
  });

  const run = (script: string) =>
    spawnSync(process.execPath, ['-e', `${prelude}\n${script}`], { encoding: 'utf8', timeout: 10_000 });

  test('an exception in the callback is an uncaught exception, and microtasks run after it', () => {
    const result = run(`
      const p = addon.pollerOpen(new Int32Array(4));
      process.on('uncaughtException', (e) => { console.log('uncaught', e.message); addon.pollerClose(p); });
      addon.pollerWatch(p, () => { Promise.resolve().then(() => console.log('microtask')); throw new Error('boom'); }, false);
      addon.pollerWake(p);`);
    expect(result.stdout.trim().split('\n').sort()).toEqual(['microtask', 'uncaught boom']);
    expect(result.status).toBe(0);
    const fatal = run(`
      const p = addon.pollerOpen(new Int32Array(4));
      addon.pollerWatch(p, () => { throw new Error('boom'); }, false);
      addon.pollerWake(p);`);
    expect(fatal.status).toBe(1);
    expect(fatal.stderr).toContain('Error: boom');
  });

  test('keeps the process alive only while it is referenced', () => {
    const start = performance.now();
    const result = run(`
      const p = addon.pollerOpen(new Int32Array(4));
      addon.pollerRef(p, false);
      addon.pollerWatch(p, () => {}, false);
      process.on('exit', () => console.log('left alone'));`);
    expect(result.stdout.trim()).toBe('left alone');
    expect(performance.now() - start).toBeLessThan(8000);
    const held = run(`
      const times = Float64Array.of(0, Infinity);
      const p = addon.pollerOpen(new Int32Array(4), times, addon.now());
      addon.pollerWatch(p, () => {
        if (times[0] < 50e6) times[1] = 50e6;
        else { addon.pollerRef(p, false); console.log('woken'); }
      }, false);
      addon.pollerSoon(p);`);
    expect(held.stdout.trim()).toBe('woken');
    expect(held.status).toBe(0);
  });
});

describe.skipIf(needs('python3'))('where the system refuses epoll_pwait2', () => {
  // A seccomp filter that answers it (441 on every processor) as container runtimes older than the call do.
  const filter = `
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 441), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(struct.pack('@HP', len(code), ctypes.addressof(program))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])`;

  test('waiting falls back to whole milliseconds, still never early', () => {
    const script = `${prelude}
      const p = addon.pollerOpen(new Int32Array(8));
      const deadline = addon.now() + 3.3e6;
      console.log(addon.pollerWait(p, 0), addon.pollerWait(p, deadline), addon.now() >= deadline);`;
    const result = spawnSync('python3', ['-c', filter, process.execPath, '-e', script], { encoding: 'utf8' });
    expect(result.stdout + result.stderr).toBe('0 0 true\n');
  });
});

describe('workers', () => {
  const descriptors = () => readdirSync('/proc/self/fd').length;

  test('what a worker leaves open is closed when it ends, also when it is terminated while watching', async () => {
    const script = `${prelude}
      const { parentPort } = require('worker_threads');
      const address = Uint8Array.of(127, 0, 0, 1);
      for (let i = 0; i < 5; i++) {
        addon.udpOpen({ family: 4, address, scope: 0, port: 0, dualStack: false, reuse: false, buffer: 0, gso: true, gro: true, device: '', netns: '' });
        const p = addon.pollerOpen(new Int32Array(16));
        addon.pollerWatch(p, () => {}, false);
      }
      parentPort.postMessage('open');`;
    const once = async () => {
      const worker = new Worker(script, { eval: true });
      await new Promise((resolve) => worker.once('message', resolve));
      const during = descriptors();
      await worker.terminate();
      return during;
    };
    await once();
    const before = descriptors();
    const during = await once();
    await once();
    expect(during).toBeGreaterThanOrEqual(before + 20);
    // The runtime's own descriptors come and go a little.
    expect(descriptors()).toBeLessThanOrEqual(before + 3);
  });

  const ways = [
    ['is terminated in its callback', 'for (;;);'],
    ['ends the worker in its callback', 'process.exit(1);'],
    ['closes its poller and ends the worker in its callback', 'addon.pollerClose(p); process.exit(1);'],
    ['throws in its callback', "throw new Error('boom');"],
    ['is terminated while it sleeps', ''],
  ];
  test.each([
    ...ways.map(([way, callback]) => [way, 'watches', callback, false]),
    ...ways.map(([way, callback]) => [way, 'blocks', callback, true]),
  ])('a worker that %s and %s takes nothing with it', async (_, __, callback, blocking) => {
    const worker = new Worker(
      `${prelude}
      const { parentPort } = require('worker_threads');
      const p = addon.pollerOpen(new Int32Array(16));
      addon.pollerWatch(p, () => { parentPort.postMessage('woken'); ${callback} }, ${blocking});
      addon.pollerWatch(addon.pollerOpen(new Int32Array(16)), () => {}, false);
      addon.pollerWake(p);`,
      { eval: true },
    );
    worker.on('error', () => {});
    const exit = new Promise((resolve) => worker.once('exit', resolve));
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    expect(await exit).toBe(1);
    expect(native().pollerWait(poller().id, 0)).toBe(0);
  });

  test('a descriptor opened here may be closed there', async () => {
    const { a } = pair();
    const extra = new UdpEnd(a.pool);
    const worker = new Worker(
      `${prelude} const { workerData, parentPort } = require('worker_threads'); addon.close(workerData); parentPort.postMessage('closed');`,
      { eval: true, workerData: extra.fd },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    expect(() => native().close(extra.fd)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    // The number most likely goes to the next that is opened; what is left of the old port must not touch it.
    const next = new UdpEnd(a.pool);
    ends.push(next);
    setRow(a.addresses, 0, '127.0.0.1', next.handle.port);
    a.send([a.to(0, pattern(10, 1))]);
    expect(native().receive(extra.id, 1)).toBe(-constants.errno.EBADF);
    extra.batch[0] = extra.to(0, pattern(10, 2));
    expect(native().send(extra.id, 1)).toBe(-constants.errno.EBADF);
    expect(await next.collect(1)).toEqual([pattern(10, 1)]);
    native().portClose(extra.id);
    await worker.terminate();
  });
});

describe('loading', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.unstubAllGlobals();
  });

  async function load(environment: Record<string, string>): Promise<unknown> {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    vi.resetModules();
    const fresh = await import('../../src/native/load.ts');
    return fresh.native();
  }

  test('an addon that is absent is a typed error with its remedy', async () => {
    await expect(load({ TUNCONNECTOR_NATIVE: '0' })).rejects.toMatchObject({
      code: 'ERR_NATIVE',
      message:
        'the native addon does not load: TUNCONNECTOR_NATIVE=0 is set; build it with `npm run build:native` (needs python3, make and g++)',
    });
    await expect(load({ TUNCONNECTOR_NATIVE: '/nowhere/x.node' })).rejects.toMatchObject({
      code: 'ERR_NATIVE',
    });
    await expect(load({ TUNCONNECTOR_NATIVE: '', TUNCONNECTOR_PREBUILD: '/nowhere' })).rejects.toMatchObject({
      code: 'ERR_NATIVE',
      message: expect.stringContaining('No native build was found for platform=linux'),
    });
  });

  test('elsewhere than on Linux the error says so', async () => {
    vi.stubGlobal('process', { ...process, platform: 'darwin' });
    await expect(load({})).rejects.toMatchObject({ code: 'ERR_PLATFORM' });
  });
});
