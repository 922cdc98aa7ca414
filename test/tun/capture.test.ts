import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import type { App, Ports } from '../../src/engine/app.ts';
import { Sink, Tee } from '../../src/engine/basic.ts';
import { Network } from '../../src/engine/network.ts';
import { reason } from '../../src/engine/reasons.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import type { TunconnectorError } from '../../src/errors.ts';
import { LinkType } from '../../src/packet/capture.ts';
import { CaptureReader } from '../../src/packet/capture-reader.ts';
import { type CaptureOptions, type CaptureOutput, captureLink } from '../../src/tun/capture/capture.ts';
import { captureToFile, streamOutput } from '../../src/tun/capture/live-file.ts';
import { linkMatcher } from '../../src/tun/capture/select.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { needs } from '../needs.ts';
import { join, readAll } from '../packet/pcap-helpers.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-capture-'));
afterAll(() => rmSync(directory, { recursive: true }));

const OddLength = reason('odd-length');

class DropOdd implements App {
  push({ pool, input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet]! & 1) pool.drop(packet, OddLength);
      else output.out.put(packet);
    }
  }
}

class MemoryOutput implements CaptureOutput {
  pending = 0;
  onFailure: ((error: TunconnectorError) => void) | undefined;
  readonly chunks: Uint8Array[] = [];
  ended = 0;
  write(chunk: Uint8Array): void {
    this.chunks.push(chunk);
  }
  async end(): Promise<void> {
    this.ended++;
  }
  get bytes(): Uint8Array {
    return join(this.chunks);
  }
}

function ipPacket(length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(length);
  bytes[0] = 0x45;
  return bytes;
}

/** a -> odd -> b in virtual time. */
async function setup() {
  const runtime = new VirtualRuntime({ seed: 1 });
  const net = new Network(runtime, { memory: 32 << 20 });
  const [a, b] = [new MemoryPort(), new MemoryPort()];
  net.app('a', a).app('b', b).app('odd', new DropOdd()).link('a.out -> odd.in').link('odd.out -> b.in');
  await net.start();
  const send = (...lengths: number[]) => {
    for (const length of lengths) a.send(ipPacket(length));
    runtime.advance('1ms');
  };
  return { runtime, net, a, b, send, [Symbol.asyncDispose]: () => net.close() };
}

/** What a file holds, as [interface, length, comments]. */
const contents = (bytes: Uint8Array) =>
  readAll(bytes).map((each) => [each.interface.name, each.bytes.length, ...each.comments]);

describe('a capture', () => {
  it('has an interface for every link, with its name, and the time of each packet to the nanosecond', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'all', output);
    expect(capture.links).toEqual(['a.out -> odd.in', 'odd.out -> b.in']);
    run.send(20, 21);
    run.runtime.advance(12_345);
    run.send(22);
    expect(await capture.stop()).toEqual({ packets: 5, missed: 0, error: undefined });
    const records = readAll(output.bytes, { epochNs: run.runtime.startOfTime });
    expect(records.map((each) => [each.interface.name, each.timeNs, each.bytes])).toEqual([
      ['a.out -> odd.in', 0, ipPacket(20)],
      ['a.out -> odd.in', 0, ipPacket(21)],
      ['odd.out -> b.in', 0, ipPacket(20)],
      ['a.out -> odd.in', 1_012_345, ipPacket(22)],
      ['odd.out -> b.in', 1_012_345, ipPacket(22)],
    ]);
    expect(records[0]!.interface).toMatchObject({ linkType: LinkType.Raw, received: 3, dropped: 0 });
    expect(output.ended).toBe(1);
  });

  it('shows dropped packets with reason and app', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'b', output, { drops: true });
    run.send(20, 21, 23);
    await capture.stop();
    expect(contents(output.bytes)).toEqual([
      ['odd.out -> b.in', 20],
      ['drops', 21, 'dropped: odd-length (odd)'],
      ['drops', 23, 'dropped: odd-length (odd)'],
    ]);
  });

  it('runs beside others on the same link, each with its own links and end', async () => {
    await using run = await setup();
    const outputs = [new MemoryOutput(), new MemoryOutput(), new MemoryOutput()];
    const all = captureLink(run.net, 'all', outputs[0]!, { drops: true });
    const one = captureLink(run.net, 'a', outputs[1]!, { drops: true });
    const two = captureLink(run.net, 'a.out', outputs[2]!, { count: 2 });
    run.send(20);
    await one.stop();
    run.send(22, 23);
    await all.stop();
    run.send(24);
    expect((await two.stop()).packets).toBe(2);
    expect(outputs.map((each) => readAll(each.bytes).length)).toEqual([6, 1, 2]);
    expect(run.net.links().map(({ link }) => link.witness)).toEqual([null, null]);
    expect(run.net.pool.witness).toBeNull();
  });

  it('leaves a witness alone that somebody else has put on a link', async () => {
    await using run = await setup();
    const { link } = run.net.links()[0]!;
    let seen = 0;
    const mine = () => seen++;
    link.witness = mine;
    const capture = captureLink(run.net, 'all', new MemoryOutput());
    run.send(20);
    await capture.stop();
    run.send(22);
    expect([seen, link.witness === mine]).toEqual([2, true]);
  });

  it('keeps the beginning of packets, and their length', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'a', output, { snapLength: 24 });
    run.send(20, 1500);
    await capture.stop();
    const records = readAll(output.bytes);
    expect(records.map((each) => [each.bytes.length, each.originalLength])).toEqual([
      [20, 20],
      [24, 1500],
    ]);
  });

  it('misses packets while its output is slow, counts them, and holds up nothing', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'a', output, { limit: 1000 });
    run.send(20);
    output.pending = 1000;
    run.send(22, 24);
    output.pending = 999;
    run.send(26);
    expect(run.b.received).toHaveLength(4);
    expect(await capture.stop()).toMatchObject({ packets: 2, missed: 2 });
    const records = readAll(output.bytes);
    expect(records.map((each) => each.bytes.length)).toEqual([20, 26]);
    expect(records[0]!.interface).toMatchObject({ received: 4, dropped: 2 });
  });

  it('hands over what has gathered within 100 ms, whole packets only', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'a', output);
    run.send(20);
    expect(new CaptureReader().push(output.bytes)).toEqual([]);
    run.runtime.advance('100ms');
    expect(new CaptureReader().push(output.bytes)).toHaveLength(1);
    await capture.stop();
  });

  it('follows a network that changes: new links, other producers, removed apps', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'all', output);
    run.send(20);
    await run.net
      .unlink('a.out -> odd.in')
      .app('tee', new Tee())
      .app('sink', new Sink())
      .link('a.out -> tee.in')
      .link('tee.x -> odd.in')
      .link('tee.y -> sink.in')
      .commit();
    run.runtime.advance('100ms');
    run.send(22);
    await run.net.remove('sink').commit();
    run.runtime.advance('100ms');
    run.send(24);
    await capture.stop();
    const seen = contents(output.bytes).map(([name, length]) => `${length} ${name}`);
    expect(seen.slice(0, 2)).toEqual(['20 a.out -> odd.in', '20 odd.out -> b.in']);
    expect(seen.slice(2).sort()).toEqual([
      '22 a.out -> tee.in',
      '22 odd.out -> b.in',
      '22 tee.x -> odd.in',
      '22 tee.y -> sink.in',
      '24 a.out -> tee.in',
      '24 odd.out -> b.in',
      '24 tee.x -> odd.in',
    ]);
  });

  it('takes only links of one layer when it is told to, as tcpdump needs it', async () => {
    const runtime = new VirtualRuntime();
    const net = new Network(runtime, { memory: 64 << 20 });
    const ports = (['L2', 'L3', 'datagram'] as const).map((layer) => new MemoryPort({ layer }));
    for (const [n, port] of ports.entries())
      net.app(`p${n}`, port).app(`s${n}`, new Sink()).link(`p${n}.out -> s${n}.in`);
    await net.start();
    const types = async (options: CaptureOptions) => {
      const output = new MemoryOutput();
      const capture = captureLink(net, 'all', output, options);
      for (const port of ports) port.send(ipPacket(60));
      runtime.advance(0);
      await capture.stop();
      return readAll(output.bytes).map((each) => each.interface.linkType);
    };
    expect(await types({})).toEqual([LinkType.Ethernet, LinkType.Raw, 147]);
    expect(await types({ layer: 'L2' })).toEqual([LinkType.Ethernet]);
    expect(await types({ layer: 'L2', frameType: LinkType.Raw })).toEqual([LinkType.Raw]);
    expect(await types({ layer: 'datagram' })).toEqual([147]);
    await net.close();
  });

  it('puts all links into one interface when it is told to, drops too', async () => {
    await using run = await setup();
    const output = new MemoryOutput();
    const capture = captureLink(run.net, 'all', output, { merge: 'net', drops: true, limit: 1 });
    run.send(20, 21);
    output.pending = 1;
    run.send(22);
    expect(await capture.stop()).toMatchObject({ packets: 4, missed: 2 });
    const records = readAll(output.bytes);
    expect(new Set(records.map((each) => each.interface.name))).toEqual(new Set(['net']));
    expect(records[0]!.interface).toMatchObject({ id: 0, received: 6, dropped: 2 });
    expect(records.flatMap((each) => each.comments)).toEqual(['dropped: odd-length (odd)']);
  });

  it('is refused when no link is meant, with the links there are', async () => {
    await using run = await setup();
    expect(() => captureLink(run.net, 'c', new MemoryOutput())).toThrow(
      'links: no link matches "c"; choose from "a.out -> odd.in", "odd.out -> b.in"',
    );
    expect(() => captureLink(run.net, 'all', new MemoryOutput(), { layer: 'L2' })).toThrow(
      /no link that carries L2/,
    );
    expect(() => captureLink(run.net, ' , ', new MemoryOutput())).toThrow(/found nothing/);
  });
});

describe('a capture before an app that gets superframes cut', () => {
  it('shows them whole, once, under the name of the link as it was written', async () => {
    const runtime = new VirtualRuntime();
    const net = new Network(runtime, { memory: 32 << 20 });
    const [a, b] = [new MemoryPort(), new MemoryPort()];
    net.app('a', a).app('b', b).app('tee', new Tee()).link('a.out -> tee.in').link('tee.x -> b.in');
    await net.start();
    expect(net.links().some(({ link }) => link.name.includes('cut:'))).toBe(true);
    const [output, cut] = [new MemoryOutput(), new MemoryOutput()];
    const capture = captureLink(net, 'all', output);
    const pieces = captureLink(net, 'cut:*.out', cut);
    a.send(ipPacket(20));
    runtime.advance(0);
    await Promise.all([capture.stop(), pieces.stop()]);
    expect(contents(output.bytes)).toEqual([
      ['a.out -> tee.in', 20],
      ['tee.x -> b.in', 20],
    ]);
    expect(contents(cut.bytes)).toEqual([['cut:tee-x:b-in.out -> b.in', 20]]);
    await net.close();
  });
});

describe('a capture file', () => {
  it('is there when virtual time has passed, complete and for its owner alone', async () => {
    await using run = await setup();
    const file = path.join(directory, 'virtual.pcapng');
    const capture = await captureToFile(run.net, 'all', file);
    for (let i = 0; i < 200; i++) run.send(...Array.from({ length: 100 }, () => 1000));
    expect(await capture.stop()).toEqual({ packets: 40_000, missed: 0, error: undefined });
    expect(readAll(readFileSync(file))).toHaveLength(40_000);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it.skipIf(needs('tshark'))('is read by tshark, names, times and comments included', async () => {
    await using run = await setup();
    const file = path.join(directory, 'tshark.pcapng');
    const capture = await captureToFile(run.net, 'all', file, { drops: true });
    run.send(20, 21);
    await capture.stop();
    const fields = ['frame.interface_name', 'frame.len', 'frame.comment', 'frame.time_epoch'];
    const argv = ['-r', file, '-T', 'fields', ...fields.flatMap((each) => ['-e', each])];
    const { stdout, status } = spawnSync('tshark', argv, { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout.trim().split('\n')).toEqual([
      'a.out -> odd.in\t20\t\t1000000000.000000000',
      'a.out -> odd.in\t21\t\t1000000000.000000000',
      'odd.out -> b.in\t20\t\t1000000000.000000000',
      'drops\t21\tdropped: odd-length (odd)\t1000000000.000000000',
    ]);
  });

  it.skipIf(!existsSync('/dev/full'))('reports a full disk once, and the network goes on', async () => {
    await using run = await setup();
    const ends: unknown[] = [];
    const capture = await captureToFile(run.net, 'all', '/dev/full', {
      onEnd: (summary) => ends.push(summary),
    });
    run.send(20);
    run.runtime.advance('200ms');
    run.send(20);
    const summary = await capture.stop();
    expect(summary.error).toMatchObject({
      code: 'ERR_CAPTURE',
      message: expect.stringMatching(/^\/dev\/full cannot be written \(ENOSPC\); make room/),
    });
    expect(ends).toEqual([summary]);
    expect(run.b.received).toHaveLength(2);
    expect(run.net.links().every(({ link }) => link.witness === null)).toBe(true);
  });

  it('that cannot be made is refused with the reason', async () => {
    await using run = await setup();
    await expect(captureToFile(run.net, 'all', path.join(directory, 'no/such/x'))).rejects.toMatchObject({
      code: 'ERR_CAPTURE',
      message: expect.stringContaining('make its directory first'),
    });
    writeFileSync(path.join(directory, 'plain'), '');
    await expect(captureToFile(run.net, 'none', path.join(directory, 'plain'))).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
  });
});

describe('a stream as an output', () => {
  it('gets packets whole and in order however slowly it takes them, up to the limit', async () => {
    await using run = await setup();
    const chunks: Uint8Array[] = [];
    const go: (() => void)[] = [];
    const slow = new Writable({
      write(chunk, _encoding, done) {
        chunks.push(chunk);
        go.push(done);
      },
    });
    const capture = captureLink(run.net, 'a', streamOutput(slow, { name: 'slow' }), { limit: 256 << 10 });
    for (let i = 0; i < 100; i++) run.send(...Array.from({ length: 100 }, () => 1000));
    // Limit and one buffer of the writer.
    expect(slow.writableLength).toBeLessThan((256 << 10) + 65_536 + 1);
    const summary = capture.stop();
    while (!slow.writableFinished) {
      go.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { packets, missed } = await summary;
    expect(packets + missed).toBe(10_000);
    expect(missed).toBeGreaterThan(5000);
    expect(readAll(join(chunks))).toHaveLength(packets);
  });

  it('has its memory used again, when it gives back what it has written', async () => {
    await using run = await setup();
    const written: Uint8Array[] = [];
    const memory = new Set<ArrayBufferLike>();
    let large = 0;
    const output: CaptureOutput = {
      pending: 0,
      onFailure: undefined,
      write(chunk, release) {
        written.push(chunk.slice());
        if (chunk.length >= 32 << 10) {
          large++;
          memory.add(chunk.buffer);
        }
        release();
      },
      end: async () => {},
    };
    const capture = captureLink(run.net, 'a', output);
    for (let i = 0; i < 20; i++) run.send(...Array.from({ length: 100 }, () => 1000));
    const { packets } = await capture.stop();
    expect(packets).toBe(2000);
    expect(readAll(join(written))).toHaveLength(2000);
    expect([large > 20, memory.size]).toEqual([true, 1]);
  });

  it('whose reader leaves ends quietly when that is expected', async () => {
    await using run = await setup();
    let left = 0;
    const broken = new Writable({
      write(_chunk, _encoding, done) {
        done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      },
    });
    const capture = captureLink(run.net, 'a', streamOutput(broken, { name: 'pipe', onLeave: () => left++ }));
    await new Promise((resolve) => setImmediate(resolve));
    expect([left, (await capture.stop()).error]).toEqual([1, undefined]);
  });
});

describe('the choice of links', () => {
  it.each([
    ['all', [0, 1, 2, 3]],
    ['tun0', [0, 3]],
    ['tun0.out', [0]],
    ['tun*', [0, 3]],
    ['a.out->b.in', [1]],
    ['a.out -> *', [1, 2]],
    ['* -> *.in', [0, 1, 3]],
    ['tun0.out, c', [0, 2]],
    ['*.o*t', [0, 1, 2]],
    ['tun', []],
  ])('%s', (selector, expected) => {
    const links = ['tun0.out -> a.in', 'a.out -> b.in', 'a.out -> c.left', 'b.x -> tun0.in'];
    const matches = linkMatcher(selector);
    expect(links.flatMap((link, n) => (matches(link) ? [n] : []))).toEqual(expected);
  });
});
