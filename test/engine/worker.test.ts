import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { AppSpec } from '../../src/engine/app.ts';
import { Sink, sink, tee } from '../../src/engine/basic.ts';
import type { NetworkConfig } from '../../src/engine/config.ts';
import { runInWorker, type WorkerNetwork } from '../../src/engine/live-worker.ts';
import { LinkType } from '../../src/packet/capture.ts';
import { PcapngWriter } from '../../src/packet/pcapng.ts';
import { createWorld } from '../../src/testing/index.ts';
import { type ReplayOptions, replay } from '../../src/tun/replay.ts';
import { configureInterface } from '../../src/tun/system/live-ip.ts';
import { tun } from '../../src/tun/tun.ts';
import { udp } from '../../src/tun/udp.ts';
import { needs } from '../needs.ts';
import { collect } from '../packet/pcap-helpers.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-worker-'));
afterAll(() => rmSync(directory, { recursive: true }));

const misbehaving = (name: string, options: object = {}): AppSpec => ({
  module: new URL('./fixtures/worker-apps.mjs', import.meta.url).href,
  export: name,
  options,
});

function capture(packets: number): Uint8Array {
  const { sink: write, bytes } = collect();
  const writer = new PcapngWriter({ sink: write });
  writer.addInterface({ linkType: LinkType.Raw });
  const packet = new Uint8Array(1000).fill(0x45);
  for (let n = 0; n < packets; n++) writer.packet(0, n, packet, 0, 1000, 1000);
  writer.end();
  return bytes();
}

/** replay -> tee -> left, right */
const network = (options: ReplayOptions, right: AppSpec = sink({})): NetworkConfig => ({
  apps: { replay: replay({ speed: 'fast', ...options }), tee: tee({}), left: sink({}), right },
  links: ['replay.out -> tee.in', 'tee.left -> left.in', 'tee.right -> right.in'],
});

const reportOf = async (net: WorkerNetwork, app: string) =>
  (await net.report()).apps.find((each) => each.app === app)!.report;

/** The error that the network tells of. */
const failure = (net: WorkerNetwork) => new Promise((resolve) => net.once('error', resolve));

/** Waits until `look` is satisfied. */
async function until(look: () => Promise<boolean>): Promise<void> {
  while (!(await look())) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('a network in a worker', () => {
  it('runs apps that are described by data, and reports what they did', async () => {
    await using net = await runInWorker(network({ bytes: capture(2000) }));
    expect(net.threadId).toBeGreaterThan(0);
    await until(async () => (await reportOf(net, 'replay')).done === true);
    for (const app of ['left', 'right']) {
      expect(await reportOf(net, app)).toEqual({ packets: 2000, bytes: 2_000_000 });
    }
    expect((await net.report()).links.map((each) => each.packets)).toContain(2000);
  });

  it('reads a file ahead in the background, again and again', async () => {
    const file = path.join(directory, 'loop.pcapng');
    writeFileSync(file, capture(3000));
    await using net = await runInWorker(network({ file, loop: 4 }));
    await until(async () => (await reportOf(net, 'replay')).done === true);
    expect(await reportOf(net, 'left')).toMatchObject({ packets: 12_000 });
    expect((await net.report()).memory.livePackets).toBe(0);
  });

  it('is changed while packets flow, and what stays keeps what it knows', async () => {
    const bytes = capture(100);
    const config = (name: string) => network({ bytes, loop: true }, misbehaving('counter', { name }));
    await using net = await runInWorker(config('first'));
    await until(async () => Number((await reportOf(net, 'right')).packets) > 1000);
    await net.reconfigure(config('second'));
    expect(await reportOf(net, 'right')).toMatchObject({ name: 'second' });
    expect(Number((await reportOf(net, 'right')).packets)).toBeGreaterThan(1000);
    await expect(
      net.reconfigure({ ...config('third'), links: ['replay.out -> nowhere.in'] }),
    ).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining('"nowhere", which does not exist'),
    });
    expect(await reportOf(net, 'right')).toMatchObject({ name: 'second' });
  });

  it('runs a function beside the network that talks to this thread through a port', async () => {
    await using net = await runInWorker(network({ bytes: capture(2000) }));
    const module = new URL('./fixtures/worker-attached.mjs', import.meta.url);
    const { result, port } = await net.attach<{ apps: string[] }>({
      module,
      export: 'echo',
      options: { prefix: 'heard: ' },
    });
    expect(result).toEqual({ thread: net.threadId, apps: ['replay', 'tee', 'left', 'right'] });
    const answer = new Promise((resolve) => port.once('message', resolve));
    port.postMessage('hello');
    expect(await answer).toBe('heard: hello');
    const closed = new Promise((resolve) => port.once('close', resolve));
    await net.close();
    await closed;
    await expect(net.attach({ module, export: 'echo' })).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  it.each<[string, string, RegExp]>([
    ['an unknown function', 'nobody', /worker-attached.mjs exports no function "nobody"$/],
    ['one that throws', 'fails', /^nothing to attach to$/],
  ])('says so when there is %s to attach, and goes on', async (_name, name, message) => {
    await using net = await runInWorker(network({ bytes: capture(10) }));
    const module = new URL('./fixtures/worker-attached.mjs', import.meta.url);
    await expect(net.attach({ module, export: name })).rejects.toThrow(message);
    await expect(net.attach({ module: `${module}.not`, export: name })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining('cannot be imported'),
    });
    await expect(net.attach({ module, export: 'echo', options: () => 1 })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
    expect((await net.report()).apps).toHaveLength(4);
  });

  it('passes on what its apps tell', async () => {
    const bytes = capture(250);
    await using net = await runInWorker(network({ bytes, loop: true }, misbehaving('counter')));
    const event = await new Promise((resolve) => net.once('event', (app, what) => resolve([app, what.type])));
    expect(['right', 'replay']).toContain((event as string[])[0]);
  });

  it('tells of the error that an app throws, and can still be asked and closed', async () => {
    await using net = await runInWorker({
      apps: { replay: replay({ bytes: capture(1), loop: true }), broken: misbehaving('explode') },
      links: ['replay.out -> broken.in'],
    });
    expect(await failure(net)).toMatchObject({
      message: 'an app went wrong',
      stack: expect.stringContaining('worker-apps'),
    });
    expect((await net.report()).apps).toHaveLength(2);
  });

  it('is ended within seconds although an app never returns', async () => {
    const net = await runInWorker({
      apps: { replay: replay({ bytes: capture(1) }), stuck: misbehaving('hang') },
      links: ['replay.out -> stuck.in'],
    });
    // By now it has its packet.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const report = expect(net.report()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    const start = performance.now();
    await net.close();
    expect(performance.now() - start).toBeLessThan(5000);
    await report;
    await expect(net.report()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(net.threadId).toBe(-1);
  });

  it('tells when its thread ends by itself', async () => {
    await using net = await runInWorker({
      apps: { replay: replay({ bytes: capture(1) }), last: misbehaving('exit') },
      links: ['replay.out -> last.in'],
    });
    expect(await failure(net)).toMatchObject({
      code: 'ERR_CLOSED',
      message: expect.stringContaining('exit code 7'),
    });
  });

  it('tells whoever started it, also when its thread has ended before anybody looked', async () => {
    const starting = runInWorker({
      apps: { replay: replay({ bytes: capture(1) }), last: misbehaving('exit') },
      links: ['replay.out -> last.in'],
    });
    // The answer and the end are there at once when this thread has its turn again.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000);
    await using net = await starting;
    expect(await failure(net)).toMatchObject({ message: expect.stringContaining('exit code 7') });
  });

  it.each<[string, NetworkConfig, RegExp]>([
    [
      'an instance',
      { apps: { end: new Sink() }, links: [] },
      /^apps.end: found an instance of Sink, expected an app described/,
    ],
    [
      'options that cannot leave',
      { apps: { end: misbehaving('counter', { f() {} }) }, links: [] },
      /cannot go to a worker/,
    ],
    ['an unknown export', { apps: { end: misbehaving('nothing') }, links: [] }, /has no app "nothing"/],
    ['wrong options', { apps: { end: sink({ x: 1 }) }, links: [] }, /apps.end: found the option "x"/],
  ])('refuses %s before anything runs', async (_name, config, message) => {
    await expect(runInWorker(config)).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringMatching(message),
    });
  });

  it('is refused with the arithmetic when its memory is too small', async () => {
    const small = runInWorker(network({ bytes: capture(1) }), { memory: 1 << 20 });
    await expect(small).rejects.toMatchObject({
      code: 'ERR_LIMIT',
      message: expect.stringMatching(/needs \d+ small packet slots/),
    });
  });
});

describe('the thread of a network, which blocks while nothing is to be done', () => {
  const beside = new URL('./fixtures/worker-attached.mjs', import.meta.url);
  interface Besides {
    longest: Record<'promise' | 'timer' | 'file' | 'immediate', number>;
    early: number;
  }
  /** Nothing ever arrives; or packets without end. */
  const idle: NetworkConfig = {
    apps: { udp: udp({ bind: '127.0.0.1:0' }), end: sink({}) },
    links: ['udp.out -> end.in'],
  };
  const flooded = network({ bytes: capture(100), loop: true });

  it.each([
    ['idle', idle],
    ['flooded', flooded],
  ])('serves promises, timers, files and messages while %s', async (_name, config) => {
    await using net = await runInWorker(config);
    const { result } = await net.attach<Besides>({
      module: beside,
      export: 'besides',
      options: { rounds: 20 },
    });
    // Bounds for a machine that is busy with other tests; one that had to wait for a packet would wait for ever.
    for (const [what, ms] of Object.entries(result.longest)) expect([what, ms < 500]).toEqual([what, true]);
    expect(result.early).toBe(0);
    const start = performance.now();
    for (let n = 0; n < 20; n++) await net.report();
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('takes no processor time while idle, and closes at once', async () => {
    const net = await runInWorker(idle);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const breaths = (await net.report()).breaths;
    await new Promise((resolve) => setTimeout(resolve, 500));
    // A turn for each of the messages and what led to it, none for the time in between.
    expect((await net.report()).breaths - breaths).toBeLessThan(20);
    const start = performance.now();
    await net.close();
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('serves one port while another is flooded', async () => {
    await using net = await runInWorker({
      apps: {
        ...flooded.apps,
        echo: udp({ bind: '127.0.0.1:0' }),
      },
      links: [...flooded.links, 'echo.out -> echo.in'],
    });
    const to = Number((await reportOf(net, 'echo')).localPort);
    const socket = createSocket('udp4');
    const round = () =>
      new Promise<number>((resolve) => {
        const start = performance.now();
        socket.once('message', () => resolve(performance.now() - start));
        socket.send('x', to, '127.0.0.1');
      });
    const times: number[] = [];
    for (let n = 0; n < 50; n++) times.push(await round());
    socket.close();
    expect(times.sort((a, b) => a - b)[25]).toBeLessThan(50);
    expect(Number((await reportOf(net, 'left')).packets)).toBeGreaterThan(10_000);
  });
});

describe.skipIf(needs('netns', 'tun', 'ping', 'ip'))('a network of two TUNs in a worker', () => {
  it('carries real pings while this thread is busy', async () => {
    await using world = await createWorld();
    const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
    await using _net = await runInWorker({
      apps: { left: tun({ name: 'w0', netns: a.path }), right: tun({ name: 'w0', netns: b.path }) },
      links: ['left.out -> right.in', 'right.out -> left.in'],
    });
    await configureInterface({ name: 'w0', netns: a.path, addresses: ['10.9.0.1/24'], up: true });
    await configureInterface({ name: 'w0', netns: b.path, addresses: ['10.9.0.2/24'], up: true });
    const pinging = a.exec(['ping', '-q', '-i', '0.01', '-c', '30', '10.9.0.2']);
    // Nothing in this thread runs for a while: packets do not need it.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const end = performance.now() + 300;
    while (performance.now() < end);
    const { stdout } = await pinging;
    expect(stdout).toContain('30 received');
    expect(Number(/rtt .* = [\d.]+\/[\d.]+\/([\d.]+)/.exec(stdout)![1])).toBeLessThan(250);
  });
});
