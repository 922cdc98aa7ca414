import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { PollEvent } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { pattern, setRow, TestPool, UdpEnd } from './support.ts';

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
  const id = native().pollerOpen(ready);
  pollers.push(id);
  return { id, ready };
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

  test('with deadline 0, or one in the past, does not wait', () => {
    const { id } = poller();
    const start = native().now();
    for (let i = 0; i < 100; i++) {
      native().pollerWait(id, 0);
      native().pollerWait(id, start);
    }
    expect(native().now() - start).toBeLessThan(500 * MS);
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
    const { id, ready } = poller();
    const { b, send, drain } = pair();
    native().pollerAdd(id, b.fd, 5, PollEvent.read);
    const calls: { at: number; keys: number[] }[] = [];
    let told = () => {};
    native().pollerWatch(id, () => {
      const n = native().pollerWait(id, 0);
      calls.push({ at: native().now(), keys: Array.from({ length: n }, (_, i) => ready[2 * i]!) });
      drain();
      told();
    });
    const next = () => new Promise<void>((resolve) => (told = resolve));
    send();
    await next();
    expect(calls.at(-1)!.keys).toEqual([5]);
    const deadline = native().now() + 20 * MS;
    native().pollerDeadline(id, deadline);
    await next();
    expect(calls.at(-1)).toMatchObject({ keys: [] });
    expect(calls.at(-1)!.at).toBeGreaterThanOrEqual(deadline);
    native().pollerDeadline(id, 1);
    await next();
    const before = calls.length;
    native().pollerDeadline(id, native().now() + 10 * MS);
    native().pollerDeadline(id, Number.POSITIVE_INFINITY);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(calls.length).toBe(before);
    native().pollerWake(id);
    await next();
    expect(() => native().pollerWatch(id, () => {})).toThrow(expect.objectContaining({ code: 'EBUSY' }));
  });

  test('the callback may close its own poller', async () => {
    const ready = new Int32Array(4);
    const id = native().pollerOpen(ready);
    await new Promise<void>((resolve) => {
      native().pollerWatch(id, () => {
        native().pollerClose(id);
        resolve();
      });
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
      addon.pollerWatch(p, () => { addon.pollerWait(p, 0); Promise.resolve().then(() => console.log('microtask')); throw new Error('boom'); });
      addon.pollerWake(p);`);
    expect(result.stdout.trim().split('\n').sort()).toEqual(['microtask', 'uncaught boom']);
    expect(result.status).toBe(0);
    const fatal = run(`
      const p = addon.pollerOpen(new Int32Array(4));
      addon.pollerWatch(p, () => { throw new Error('boom'); });
      addon.pollerWake(p);`);
    expect(fatal.status).toBe(1);
    expect(fatal.stderr).toContain('Error: boom');
  });

  test('keeps the process alive only while it is referenced', () => {
    const start = Date.now();
    const result = run(`
      const p = addon.pollerOpen(new Int32Array(4));
      addon.pollerRef(p, false);
      addon.pollerWatch(p, () => {});
      process.on('exit', () => console.log('left alone'));`);
    expect(result.stdout.trim()).toBe('left alone');
    expect(Date.now() - start).toBeLessThan(8000);
    const held = run(`
      const p = addon.pollerOpen(new Int32Array(4));
      addon.pollerWatch(p, () => { addon.pollerWait(p, 0); addon.pollerRef(p, false); console.log('woken'); });
      addon.pollerDeadline(p, addon.now() + 50e6);`);
    expect(held.stdout.trim()).toBe('woken');
    expect(held.status).toBe(0);
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
        addon.pollerWatch(p, () => {});
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

  test('a descriptor opened here may be closed there', async () => {
    const { a } = pair();
    const extra = new UdpEnd(a.pool);
    const worker = new Worker(
      `${prelude} const { workerData, parentPort } = require('worker_threads'); addon.close(workerData); parentPort.postMessage('closed');`,
      { eval: true, workerData: extra.fd },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    expect(() => native().close(extra.fd)).toThrow(expect.objectContaining({ code: 'EBADF' }));
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
