import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { Network } from '../../src/engine/network.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';
import { LinkType } from '../../src/packet/capture.ts';
import { PcapWriter } from '../../src/packet/pcap.ts';
import { PcapngWriter } from '../../src/packet/pcapng.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { type ReplayOptions, replay } from '../../src/tun/replay.ts';
import { collect } from '../packet/pcap-helpers.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-replay-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** An IPv4 packet as far as anybody looks: version, and a number to know it by. */
function ipPacket(n: number, length = 60): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes[0] = 0x45;
  bytes[1] = n;
  return bytes;
}

const EPOCH = 1_700_000_000_000_000_000n;

/** Packets at the given times (ns), numbered from 0. */
function capture(times: readonly number[], linkType: number = LinkType.Raw, header = 0): Uint8Array {
  const { sink, bytes } = collect();
  const writer = new PcapngWriter({ sink, epochNs: EPOCH });
  const id = writer.addInterface({ linkType, name: 'eth0' });
  for (const [n, time] of times.entries()) {
    const packet = new Uint8Array([...new Uint8Array(header), ...ipPacket(n)]);
    writer.packet(id, time, packet, 0, packet.length, packet.length);
  }
  writer.end();
  return bytes();
}

async function play(options: ReplayOptions, layer: 'L2' | 'L3' = 'L3') {
  const runtime = new VirtualRuntime();
  const net = new Network(runtime, { memory: 32 << 20 });
  const out = new MemoryPort({ layer });
  const events: Record<string, unknown>[] = [];
  net.on('event', (_app, event) => events.push(event));
  await net.app('replay', replay(options)).app('out', out).link('replay.out -> out.in').start();
  const report = () => net.report().apps.find(({ app }) => app === 'replay')!;
  return {
    runtime,
    out,
    events,
    report,
    times: () => out.received.map((each) => each.time),
    numbers: () => out.received.map((each) => each.bytes[1]),
    [Symbol.asyncDispose]: () => net.close(),
  };
}

describe('a replayed capture', () => {
  it('lets packets enter at their recorded times, to the nanosecond', async () => {
    await using run = await play({ bytes: capture([5, 1_000_005, 1_000_006, 70_000_000_005]) });
    run.runtime.advance('1ms');
    expect(run.times()).toEqual([0, 1_000_000]);
    run.runtime.advance('70s');
    expect(run.times()).toEqual([0, 1_000_000, 1_000_001, 70_000_000_000]);
    expect(run.out.received[3]!.bytes).toEqual(ipPacket(3));
    expect(run.events).toEqual([{ type: 'replay-end', packets: 4, bytes: 240, passes: 1 }]);
  });

  it('runs faster, slower, or as fast as the network takes packets', async () => {
    const bytes = capture([0, 1000, 4000]);
    for (const [speed, times] of [
      [2, [0, 500, 2000]],
      [0.5, [0, 2000, 8000]],
      ['fast', [0, 0, 0]],
    ] as const) {
      await using run = await play({ bytes, speed });
      run.runtime.advance('1s');
      expect(run.times()).toEqual(times);
    }
  });

  it('repeats as often as it is told, one mean gap apart', async () => {
    await using run = await play({ bytes: capture([0, 1000, 4000]), loop: 3 });
    run.runtime.advance('1s');
    expect(run.times()).toEqual([0, 1000, 4000, 6000, 7000, 10000, 12000, 13000, 16000]);
    expect(run.report().report).toMatchObject({ packets: 9, passes: 3, done: true });
  });

  it('repeats a single packet every second, for ever', async () => {
    await using run = await play({ bytes: capture([7]), loop: true });
    run.runtime.advance('4500ms');
    expect(run.times()).toEqual([0, 1e9, 2e9, 3e9, 4e9]);
  });

  it('loses nothing when the network is slower than the capture', async () => {
    const times = Array.from({ length: 10_000 }, () => 0);
    await using run = await play({ bytes: capture(times), speed: 'fast' });
    run.runtime.advance(0);
    expect(run.numbers()).toEqual(times.map((_, n) => n & 0xff));
  });

  it('reads files piece by piece, equal to what memory gives', async () => {
    const times = Array.from({ length: 20_000 }, (_, n) => n * 10);
    const file = path.join(directory, 'long.pcapng');
    writeFileSync(file, capture(times));
    await using run = await play({ file });
    run.runtime.advance('1s');
    expect(run.times()).toEqual(times);
  });

  it.each([
    ['raw IP', LinkType.Raw, 0],
    ['BSD loopback', LinkType.Null, 4],
    ['Linux cooked', LinkType.LinuxSll, 16],
    ['Linux cooked 2', LinkType.LinuxSll2, 20],
  ])('brings IP packets out of %s captures', async (_name, linkType, header) => {
    await using run = await play({ bytes: capture([0], linkType, header) });
    run.runtime.advance(0);
    expect(run.out.received.map((each) => each.bytes)).toEqual([ipPacket(0)]);
  });

  it('carries Ethernet frames as frames, and refuses to be linked to what wants IP packets', async () => {
    const bytes = capture([0], LinkType.Ethernet, 14);
    await using run = await play({ bytes }, 'L2');
    run.runtime.advance(0);
    expect(run.out.received[0]!.bytes).toHaveLength(74);
    await expect(play({ bytes }, 'L3')).rejects.toThrow(/joins L2 \(replay.out\) and L3/);
  });

  it('reads the classic format with its microseconds', async () => {
    const { sink, bytes } = collect();
    const writer = new PcapWriter({
      sink,
      linkType: LinkType.Raw,
      precision: 'microseconds',
      epochNs: EPOCH,
    });
    for (const time of [0, 1_500_000]) writer.packet(0, time, ipPacket(1), 0, 60, 60);
    writer.end();
    await using run = await play({ bytes: bytes() });
    run.runtime.advance('1s');
    expect(run.times()).toEqual([0, 1_500_000]);
  });

  it('takes one interface of several, and none of the packets that were dropped when they were captured', async () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink });
    const [a, b, frames] = [LinkType.Raw, LinkType.Raw, LinkType.Ethernet].map((linkType, n) =>
      writer.addInterface({ linkType, name: `if${n}` }),
    );
    writer.packet(a!, 0, ipPacket(1), 0, 60, 60);
    writer.packet(b!, 1, ipPacket(2), 0, 60, 60);
    writer.packet(frames!, 2, ipPacket(3), 0, 60, 60);
    writer.packet(a!, 3, ipPacket(4), 0, 60, 60, 'dropped: odd-length (odd)');
    writer.end();
    const numbers = async (options: ReplayOptions, layer?: 'L2') => {
      await using run = await play({ bytes: bytes(), ...options }, layer);
      run.runtime.advance('1s');
      return run.numbers();
    };
    expect(await numbers({})).toEqual([1, 2]);
    expect(await numbers({ interface: 'if1' })).toEqual([2]);
    expect(await numbers({ interface: 0 })).toEqual([1, 4]);
    expect(await numbers({ interface: 'if2' }, 'L2')).toEqual([3]);
    await expect(numbers({ interface: 'if9' })).rejects.toThrow(
      /no interface "if9"; choose one of if0, if1, if2/,
    );
  });

  it('counts what cannot enter: cut packets and what is not IP', async () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink });
    writer.addInterface({ linkType: LinkType.Raw });
    writer.packet(0, 0, ipPacket(1), 0, 60, 1500);
    writer.packet(0, 0, new Uint8Array(60), 0, 60, 60);
    writer.packet(0, 0, ipPacket(2), 0, 60, 60);
    writer.end();
    await using run = await play({ bytes: bytes() });
    run.runtime.advance('1s');
    expect(run.numbers()).toEqual([2]);
    expect(run.report().drops).toEqual({ 'capture-cut': 1, 'not-ip': 1 });
  });

  it('plays what is left of a damaged file, says so once, and leaves the network running', async () => {
    const whole = capture([0, 0, 0]);
    // An impossible block length where the third packet begins.
    const damaged = new Uint8Array([
      ...whole.subarray(0, whole.length - 52 - 92),
      6,
      0,
      0,
      0,
      7,
      0,
      0,
      0,
      9,
      9,
      9,
      9,
    ]);
    await using run = await play({ bytes: damaged });
    run.runtime.advance('1s');
    expect(run.numbers()).toEqual([0, 1]);
    expect(run.events).toEqual([
      { type: 'replay-failed', code: 'ERR_CAPTURE', message: expect.stringContaining('a block of 7 bytes') },
    ]);
  });

  it('keeps the order and the bytes of any capture', async () => {
    const records = fc.array(fc.tuple(fc.nat(2_000_000), fc.integer({ min: 20, max: 3000 })), {
      maxLength: 200,
    });
    await fc.assert(
      fc.asyncProperty(records, async (list) => {
        const { sink, bytes } = collect();
        const writer = new PcapngWriter({ sink, epochNs: EPOCH });
        writer.addInterface({ linkType: LinkType.Raw });
        const packets = list.map(([, length], n) => ipPacket(n & 0xff, length));
        for (const [n, [time]] of list.entries()) {
          writer.packet(0, time, packets[n]!, 0, packets[n]!.length, packets[n]!.length);
        }
        writer.end();
        await using run = await play({ bytes: bytes() });
        run.runtime.advance('1s');
        expect(run.out.received.map((each) => each.bytes)).toEqual(packets);
        // A record that is older than one before it cannot enter earlier than that one.
        let latest = 0;
        const expected = list.map(([time]) => (latest = Math.max(latest, time - list[0]![0])));
        expect(run.times()).toEqual(expected);
      }),
      { seed: 7, numRuns: 40 },
    );
  });
});

describe('a capture that cannot be replayed', () => {
  it.each([
    ['no file at all', {}, 'ERR_CONFIG', /neither file and bytes/],
    ['both', { file: 'x', bytes: new Uint8Array(1) }, 'ERR_CONFIG', /both file and bytes/],
    ['a negative speed', { bytes: capture([0]), speed: -1 }, 'ERR_CONFIG', /speed: found -1/],
    ['an unknown key', { bytes: capture([0]), sped: 1 }, 'ERR_CONFIG', /unknown key "sped"/],
    ['a missing file', { file: '/nowhere/x.pcap' }, 'ERR_CAPTURE', /\/nowhere\/x.pcap does not exist/],
    ['a directory', { file: '/' }, 'ERR_CAPTURE', /\/ is not a regular file/],
    ['another format', { bytes: new Uint8Array(100) }, 'ERR_CAPTURE', /neither pcap nor pcapng/],
    [
      'radio frames',
      { bytes: capture([0], LinkType.Ieee80211) },
      'ERR_CAPTURE',
      /link type 105; replay Ethernet/,
    ],
  ])('is refused with the reason: %s', async (_name, options, code, message) => {
    await expect(play(options as ReplayOptions)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});
