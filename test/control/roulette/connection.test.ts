import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { connectRegistry, type RemoteOptions } from '../../../src/chain/roulette/remote/live-connection.ts';
import { Mirror } from '../../../src/chain/roulette/watch/mirror.ts';
import { LiveRuntime } from '../../../src/engine/live-runtime.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { TENANT, testRoulette, until } from './served.ts';

const TOKEN = 'correct-horse-battery-staple';
/** Nobody listens on it. */
const NOBODY = 'http://127.0.0.1:1';

function connected(addresses: string[], options: Partial<RemoteOptions> = {}) {
  const runtime = new LiveRuntime({ seed: 3 });
  const registry = connectRegistry(runtime, { addresses, tenant: TENANT, ...options });
  const request = (name: string, body: object = {}) =>
    // biome-ignore lint/suspicious/noExplicitAny: answers are JSON
    new Promise<any>((resolve, reject) => {
      let inside = true;
      registry.request(name, body, (error, answer) => {
        expect(inside).toBe(false);
        if (error) reject(error);
        else resolve(answer);
      });
      inside = false;
    });
  return { ...{ runtime, registry, request }, [Symbol.dispose]: () => registry.close() };
}

/** A mirror that is kept up to date as a member does it. */
function mirrored({ registry, runtime }: ReturnType<typeof connected>) {
  const mirror = new Mirror(TENANT, runtime.now());
  const errors: (Error | undefined)[] = [];
  let end = () => {};
  const open = () => {
    end = registry.watch(mirror.hello(runtime.now()), {
      onMessage: (message) => {
        if (mirror.receive(message, runtime.now()) === 'fine') return;
        end();
        open();
      },
      onClose: (error) => {
        errors.push(error);
        open();
      },
    });
  };
  open();
  return { mirror, errors };
}

/** A server that does what it is told with each connection. */
async function served(onConnection: (socket: Socket) => void) {
  const server = createServer(onConnection);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.dispose]: () => server.close(),
  };
}

describe('a connection to Roulette', () => {
  it('asks every request at its address, and gives the answer or the error as it was', async () => {
    await using roulette = await testRoulette();
    using member = connected([await roulette.listen()]);
    await member.request('tenant.put');
    await member.request('function.put', { name: 'fw' });
    const { lease } = await member.request('lease.grant', { term: '10s' });
    const replica = { function: 'fw', address: '10.0.0.1', port: 4790, lease };
    const { id } = await member.request('replica.put', replica);
    expect(await member.request('replica.put', { ...replica, id: 500, weight: 2 })).toMatchObject({
      id: 500,
    });
    await member.request('replica.state', { id, state: 'draining' });
    const { rev } = await member.request('chain.put', { spi: 7, functions: ['fw'], ifRev: 0 });
    const flow = { id: '00000000000000f1', key: 'a flow', spi: 7 };
    expect((await member.request('flows.register', { flows: [flow] })).flows[0].path).toEqual([500]);
    expect(await member.request('flow.pin', { id: flow.id, path: [id] })).toMatchObject({ path: [id] });
    expect(await member.request('flows.touch', { ids: [flow.id] })).toEqual({ missing: [] });
    await member.request('flows.remove', { ids: [flow.id] });
    expect(await member.request('lease.keep', { lease })).toEqual({ lease });
    expect(await member.request('suspect.report', { replica: 9, evidence: 'silent' })).toEqual({
      state: 'gone',
    });
    await member.request('replica.remove', { id });
    await member.request('lease.end', { lease });
    await member.request('classifier.put', { rules: [] });
    await expect(member.request('chain.end', { spi: 7, ifRev: rev + 1 })).rejects.toMatchObject({
      code: 'ERR_REVISION',
      place: { path: 'ifRev', expected: String(rev) },
    });
    await member.request('chain.end', { spi: 7, ifRev: rev });
    const misfit = member.request('chain.put', { spi: 7, functions: ['nobody'] });
    await expect(misfit).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: 'functions.0: found "nobody", expected one of fw',
      place: { path: 'functions.0', found: '"nobody"', expected: 'one of fw' },
    });
    await expect(member.request('nonsense')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('finds the one of several that answers, and stays there', async () => {
    await using roulette = await testRoulette();
    using mute = await served(() => {});
    using broken = await served((socket) => socket.destroy());
    using member = connected([NOBODY, broken.url, await roulette.listen(), mute.url]);
    await member.request('tenant.put');
    const start = performance.now();
    for (let i = 0; i < 20; i++) await member.request('function.put', { name: `f${i}` });
    expect(performance.now() - start).toBeLessThan(2500);
    const { mirror, errors } = mirrored(member);
    await until(() => mirror.isFilled);
    expect([mirror.view.all('function').size, errors]).toEqual([20, []]);
  });

  it('that nobody answers says so in one line, with each address and why', async () => {
    using broken = await served((socket) => socket.destroy());
    using member = connected([NOBODY, broken.url], { patience: 500 * MILLISECOND });
    const remedy = 'check the address, and that it runs';
    const message =
      `no Roulette answers at ${NOBODY} (nobody listens there), ` +
      `${broken.url} (it broke the connection); ${remedy}`;
    await expect(member.request('tenant.put')).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      remedy,
      message,
    });
    const { errors } = mirrored(member);
    await until(() => errors.length > 1);
    expect(errors[0]).toMatchObject({ code: 'ERR_UNREACHABLE', message });
  });

  it('waits for one that comes later', async () => {
    await using roulette = await testRoulette();
    const url = await roulette.listen();
    await using late = await testRoulette();
    using member = connected([url]);
    await member.request('tenant.put');
    roulette.watchers.close();
    await roulette.server.close();
    const asked = member.request('function.put', { name: 'fw' }).catch(() => member.request('tenant.put'));
    const { mirror } = mirrored(member);
    await new Promise((resolve) => setTimeout(resolve, 700));
    await late.request('tenant.put');
    await late.listen(Number(new URL(url).port));
    expect(await asked).toMatchObject({ rev: expect.any(Number) });
    await until(() => mirror.isFilled);
    expect(mirror.view.all('function').size).toBe(1);
  });

  it('to something else than a Roulette says what is wrong with the address', async () => {
    const other = createHttpServer((_request, response) => response.writeHead(404).end('<html>'));
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    using member = connected([`http://127.0.0.1:${(other.address() as AddressInfo).port}`], {
      patience: 300 * MILLISECOND,
    });
    await expect(member.request('tenant.put')).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
      message: expect.stringContaining('status 404, and not as Roulette does'),
    });
    other.close();
  });

  it('shows its token, and is told when it is wrong or another tenant’s', async () => {
    const tokens = { [TOKEN]: [TENANT], 'other-other-other-other': [43] };
    await using roulette = await testRoulette({ tokens });
    const url = await roulette.listen();
    using member = connected([url], { token: TOKEN });
    await member.request('tenant.put');
    const { mirror } = mirrored(member);
    await until(() => mirror.isFilled);
    for (const [token, code] of [
      [undefined, 'ERR_TOKEN'],
      ['wrong-wrong-wrong-wrong', 'ERR_TOKEN'],
      ['other-other-other-other', 'ERR_FORBIDDEN'],
    ] as const) {
      using stranger = connected([url], token === undefined ? {} : { token });
      await expect(stranger.request('tenant.put')).rejects.toMatchObject({ code });
      const { errors } = mirrored(stranger);
      await until(() => errors.length > 0);
      expect(errors[0]).toMatchObject({ code });
    }
  });

  it('bounds what waits for answers', async () => {
    using mute = await served(() => {});
    using member = connected([mute.url]);
    const outcomes: (string | undefined)[] = [];
    for (let i = 0; i < 1100; i++)
      member.registry.request('tenant.put', {}, (error) => outcomes.push(error?.code));
    await until(() => outcomes.length > 0);
    expect(outcomes).toEqual(Array(76).fill('ERR_BUSY'));
  });

  it.each(['10.0.0.1:7590', 'ftp://x', 'http://x/elsewhere', 'http://me@x', ''])(
    'refuses the address %j',
    (text) => {
      expect(() => connected([text])).toThrow(expect.objectContaining({ code: 'ERR_ADDRESS' }));
    },
  );
});

describe('a watch over a WebSocket', () => {
  it('brings everything and then every change', async () => {
    await using roulette = await testRoulette();
    await roulette.set({ fw: [1, 2], egress: [9] });
    using member = connected([await roulette.listen()]);
    const { mirror } = mirrored(member);
    await until(() => mirror.isFilled);
    await roulette.request('chain.put', { spi: 7, functions: ['fw'] });
    await until(() => mirror.rev === roulette.roulette.rev);
    expect(mirror.view.chainRevision(7)).toMatchObject({ revision: 1, functions: ['fw'] });
    expect(mirror.view.tenant?.secret).toMatch(/^[0-9a-f]{16}$/);
    expect(mirror.counters).toMatchObject({ gaps: 0, misfits: 0, snapshots: 1 });
    const rev = mirror.rev;
    await until(() => mirror.counters.beats > 1);
    expect(mirror.rev).toBe(rev);
  });

  it('loses none of a thousand changes while it was away', async () => {
    await using roulette = await testRoulette();
    await roulette.set({ fw: [1] });
    await roulette.request('chain.put', { spi: 7, functions: ['fw'] });
    const url = await roulette.listen();
    using member = connected([url]);
    const { runtime, registry } = member;
    const mirror = new Mirror(TENANT, runtime.now());
    let receiving = true;
    const watch = () =>
      registry.watch(mirror.hello(runtime.now()), {
        onMessage: (message) => receiving && expect(mirror.receive(message, runtime.now())).toBe('fine'),
        onClose: () => {},
      });
    const end = watch();
    await until(() => mirror.rev === roulette.roulette.rev);
    receiving = false;
    end();
    const states = ['draining', 'ready'];
    for (let i = 0; i < 1000; i++) await roulette.request('replica.state', { id: 1, state: states[i % 2] });
    receiving = true;
    const endAgain = watch();
    await until(() => mirror.rev === roulette.roulette.rev);
    expect(mirror.counters).toMatchObject({ snapshots: 1, gaps: 0, misfits: 0, events: 1000 });
    endAgain();
  }, 60_000);

  it('that does not read is cut off when its place is gone, and costs no memory', async () => {
    await using roulette = await testRoulette({
      history: 64,
      serve: { watchers: { bound: 4096, watchers: 2 } },
    });
    await roulette.set({ fw: [1] });
    const url = await roulette.listen();
    const slow = new WebSocket(`${url.replace('http', 'ws')}/v1/tenants/${TENANT}/watch`);
    await new Promise((resolve) => slow.once('open', resolve));
    slow.pause();
    slow.send('{"t":"watch"}');
    using member = connected([url]);
    const { mirror } = mirrored(member);
    await until(() => mirror.isFilled);
    // Every change is more than the kernel's buffers hold together.
    const rules = Array.from({ length: 200 }, (_, i) => ({
      name: `r${i}`,
      match: { to: `10.0.0.${i}` },
      chain: null,
    }));
    for (let i = 0; roulette.watchers.late === 0 && i < 2000; i++)
      await roulette.request('classifier.put', {
        rules: [...rules, { name: `last${i}`, match: '*', chain: null }],
      });
    expect(roulette.watchers.late).toBe(1);
    await until(() => mirror.rev === roulette.roulette.rev);
    expect(mirror.counters.misfits).toBe(0);
    slow.terminate();
  }, 60_000);

  it.each([
    ['no JSON', '{"t":', 1008],
    ['another message', '{"t":"hello"}', 1008],
    ['a kind that is none', '{"t":"watch","kinds":["secrets"]}', 1008],
    ['more than there is to say', `{"t":"watch","x":"${'y'.repeat(2000)}"}`, 1009],
  ])('that begins with %s is ended', async (_what, hello, code) => {
    await using roulette = await testRoulette();
    const url = await roulette.listen();
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/tenants/${TENANT}/watch`);
    socket.on('error', () => {});
    const closed = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
    socket.once('open', () => socket.send(hello));
    expect(await closed).toBe(code);
    expect(roulette.faults).toEqual([]);
  });

  it('that says nothing is ended, and so is one that says more than its beginning', async () => {
    await using roulette = await testRoulette();
    const url = await roulette.listen();
    const open = async () => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/tenants/${TENANT}/watch`);
      const closed = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
      await new Promise((resolve) => socket.once('open', resolve));
      return { socket, closed };
    };
    const mute = await open();
    const chatty = await open();
    for (let i = 0; i < 2; i++) chatty.socket.send('{"t":"watch"}');
    expect(await chatty.closed).toBe(1008);
    expect(await mute.closed).toBe(1006);
    await until(() => roulette.watchers.size === 0);
  }, 20_000);

  it('beyond as many as there may be is told to come again', async () => {
    await using roulette = await testRoulette({ serve: { watchers: { watchers: 1 } } });
    const url = await roulette.listen();
    using first = connected([url]);
    using second = connected([url]);
    const { mirror } = mirrored(first);
    await until(() => mirror.isFilled);
    const { errors } = mirrored(second);
    await until(() => errors.length > 0);
    expect(errors[0]).toMatchObject({ message: expect.stringContaining('there are 1 watchers already') });
  });
});
