import { describe, expect, it } from 'vitest';
import { slice } from '../../../src/engine/slice.ts';
import type { Impair } from '../../../src/impair/impair.ts';
import { parseVerdicts } from '../../../src/impair/log/parse.ts';
import { compileSpec } from '../../../src/impair/spec/spec.ts';
import { parseStages } from '../../../src/impair/spec/text.ts';
import { formatIp, parseIp } from '../../../src/packet/address.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { UnreachableReason, unreachable } from '../../../src/packet/icmp-error.ts';
import { contains, parsePrefix } from '../../../src/packet/prefix.ts';
import { completeChecksum } from '../../../src/packet/segment.ts';
import { Verdict, verifyTransport } from '../../../src/packet/transport.ts';
import { type ImpairedPair, type ImpairSpec, impairedPair } from '../../../src/testing/index.ts';
import { Drive, type StageInput } from '../drive.ts';
import { endsOf } from './ends.ts';

const INSIDE = '10.0.0.1:5000';
const REMOTE = '192.0.2.1:443';

const link = (spec: ImpairSpec) => impairedPair(spec, { memory: 64 << 20 });
const small = { packets: 512, superframes: 4, flows: 64, seed: 7 };

/** The last packet that came out at an end: its two ends, as text. */
const last = (received: readonly { bytes: Uint8Array }[]) => endsOf(received[received.length - 1].bytes);

/** Where a packet from the inside comes from by the time it is outside. */
function sourceOf({ a, b, runtime }: ImpairedPair, from = INSIDE, to = REMOTE, payload = 10): string {
  const before = b.received.length;
  a.send(udpPacket({ from, to, payload }));
  runtime.advance('1ms');
  expect(b.received).toHaveLength(before + 1);
  expect(verifyTransport(b.received[before].bytes, 0)).toBe(Verdict.Right);
  return last(b.received).from;
}

/** Where a packet to `to` gets on the inside, or undefined when it does not. */
function arrival({ a, b, runtime }: ImpairedPair, to: string, from = REMOTE): string | undefined {
  const before = a.received.length;
  b.send(udpPacket({ from, to, payload: 10 }));
  runtime.advance('1ms');
  if (a.received.length === before) return undefined;
  expect(verifyTransport(a.received[before].bytes, 0)).toBe(Verdict.Right);
  return last(a.received).to;
}

describe('a rebinding', () => {
  it('gives a flow another port from its time on, and takes replies back', async () => {
    await using pair = await link({ both: 'rebind 1s', ...small });
    expect(sourceOf(pair)).toBe(INSIDE);
    expect(arrival(pair, INSIDE)).toBe(INSIDE);
    pair.runtime.advance('1s');
    const outside = sourceOf(pair);
    expect(outside).toMatch(/^10\.0\.0\.1:\d+$/);
    expect(outside).not.toBe(INSIDE);
    expect(sourceOf(pair)).toBe(outside);
    expect(arrival(pair, outside)).toBe(INSIDE);
    pair.runtime.advance('1h');
    expect(sourceOf(pair)).toBe(outside);
  });

  it('drops what comes to the former port, for a reason', async () => {
    await using pair = await link({ both: 'rebind 1s', ...small });
    sourceOf(pair);
    pair.runtime.advance('1s');
    // From its time on, not from the next packet on.
    expect(arrival(pair, INSIDE)).toBeUndefined();
    sourceOf(pair);
    expect(arrival(pair, INSIDE)).toBeUndefined();
    expect(pair.inspect().down.pipelines[0].stages[0].drops).toEqual({ rebound: 2 });
  });

  it('takes it for a time of grace if asked to', async () => {
    await using pair = await link({ both: 'rebind 1s grace 100ms', ...small });
    sourceOf(pair);
    pair.runtime.advance('1s');
    const outside = sourceOf(pair);
    expect(arrival(pair, INSIDE)).toBe(INSIDE);
    expect(arrival(pair, outside)).toBe(INSIDE);
    pair.runtime.advance('100ms');
    expect(arrival(pair, INSIDE)).toBeUndefined();
    expect(arrival(pair, outside)).toBe(INSIDE);
  });

  it('happens again and again, each time with another port', async () => {
    await using pair = await link({ both: 'rebind 1s every 500ms', ...small });
    const names = [sourceOf(pair)];
    for (let n = 0; n < 20; n++) {
      pair.runtime.advance('500ms');
      names.push(sourceOf(pair));
    }
    // In front of the first rebinding there are two times.
    expect(names[0]).toBe(names[1]);
    expect(new Set(names).size).toBe(20);
    for (const former of names.slice(2, -1)) expect(arrival(pair, former)).toBeUndefined();
    expect(arrival(pair, names[20])).toBe(INSIDE);
    expect(pair.inspect().up.pipelines[0].stages[0].details).toMatchObject({ rebound: 19 });
  });

  it('can change the address too, the same for all flows of a host', async () => {
    const address = '198.51.100.0/28,2001:db8::/64';
    await using pair = await link({ both: `rebind 1s every 1s address ${address}`, ...small });
    const six = ['[fd00::1]:9', '[2001:db8:1::1]:443'] as const;
    expect([sourceOf(pair), sourceOf(pair, ...six)]).toEqual([INSIDE, six[0]]);
    let before = '';
    for (let n = 0; n < 10; n++) {
      pair.runtime.advance('1s');
      const [one, other] = [sourceOf(pair), sourceOf(pair, '10.0.0.1:6000')].map(
        (text) => text.split(':')[0],
      );
      expect(other).toBe(one);
      expect(one).not.toBe(before);
      expect(contains(parsePrefix('198.51.100.0/28'), parseIp(one))).toBe(true);
      before = one;
      const outside = sourceOf(pair, ...six);
      expect(outside).toMatch(/^\[2001:db8::/);
      expect(arrival(pair, outside, six[1])).toBe(six[0]);
    }
  });

  it('leaves a new flow its own port until the next time, unless another has it', async () => {
    await using pair = await link({ both: 'rebind 1s every 1s ports 6000-6001', ...small });
    sourceOf(pair);
    pair.runtime.advance('1s');
    const outside = sourceOf(pair);
    expect(['10.0.0.1:6000', '10.0.0.1:6001']).toContain(outside);
    const other = outside.endsWith('0') ? '10.0.0.1:6001' : '10.0.0.1:6000';
    // The one whose port the first has now gets the other.
    expect(sourceOf(pair, outside)).toBe(other);
    expect(sourceOf(pair, '10.0.0.1:7000')).toBe('10.0.0.1:7000');
    expect([arrival(pair, outside), arrival(pair, other)]).toEqual([INSIDE, outside]);
  });

  it('drops packets of flows for which there is no port', async () => {
    await using pair = await link({ both: 'rebind 1s ports 6000-6001', ...small });
    for (const port of [1, 2, 3]) sourceOf(pair, `10.0.0.1:${port}`);
    pair.runtime.advance('1s');
    const names = [1, 2].map((port) => sourceOf(pair, `10.0.0.1:${port}`));
    expect(names.sort()).toEqual(['10.0.0.1:6000', '10.0.0.1:6001']);
    pair.a.send(udpPacket({ from: '10.0.0.1:3', to: REMOTE }));
    pair.runtime.advance('1ms');
    expect(pair.inspect().up.pipelines[0].stages[0].drops).toEqual({ 'no-port': 1 });
    // At another remote end the port is free.
    expect(sourceOf(pair, '10.0.0.1:9', '192.0.2.2:1')).toBe('10.0.0.1:9');
  });

  it('draws the same ports for a seed, whatever other flows there are', async () => {
    const names = async (seed: number, others: number) => {
      await using pair = await link({ both: 'rebind 1s', ...small, seed });
      for (let n = 0; n <= others; n++) sourceOf(pair, n === others ? INSIDE : `10.0.0.1:${n + 1}`);
      pair.runtime.advance('1s');
      for (let n = 0; n < others; n++) sourceOf(pair, `10.0.0.1:${n + 1}`);
      return sourceOf(pair);
    };
    const one = await names(7, 0);
    expect(await names(7, 20)).toBe(one);
    expect(await names(8, 0)).not.toBe(one);
  });

  it('translates TCP, and leaves pings and fragments as they are', async () => {
    await using pair = await link({ both: 'rebind 0s', ...small });
    const { a, b, runtime } = pair;
    a.send(tcpPacket({ from: INSIDE, to: REMOTE, payload: 'one' }));
    runtime.advance('1ms');
    expect(last(b.received).from).toBe(INSIDE);
    const fragment = udpPacket({ from: INSIDE, to: REMOTE, payload: 64 });
    fragment[6] = 0x20;
    for (const bytes of [fragment, icmpEcho({ from: '10.0.0.1', to: '192.0.2.1' })]) {
      a.send(bytes);
      runtime.advance('1ms');
      expect(b.received[b.received.length - 1].bytes).toEqual(bytes);
    }
  });

  it('takes ICMP errors back to the flow, with the packet they quote as it was sent', async () => {
    await using pair = await link({ both: 'rebind 1s address 198.51.100.0/24', ...small });
    sourceOf(pair);
    pair.runtime.advance('1s');
    const sent = udpPacket({ from: INSIDE, to: REMOTE, payload: 33 });
    pair.a.send(sent);
    pair.runtime.advance('1ms');
    const offender = pair.b.received[pair.b.received.length - 1].bytes;
    expect(last(pair.b.received).from).not.toContain('10.0.0.1');
    const error = new Uint8Array(576);
    const { bytes: router } = parseIp('203.0.113.9');
    const length = unreachable(offender, 0, offender.length, UnreachableReason.Port, router, 0, error, 0);
    pair.b.send(error.slice(0, length));
    pair.runtime.advance('1ms');
    const [{ bytes }] = pair.a.received.slice(-1);
    expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
    expect(formatIp({ family: 4, bytes: bytes.slice(16, 20) })).toBe('10.0.0.1');
    expect(bytes.slice(28)).toEqual(sent);
    // It was of the flow that it quotes.
    const { top } = pair.inspect().down.flows;
    expect(top.map(({ local, localPort, packets }) => [local, localPort, packets])).toEqual([
      ['10.0.0.1', 5000, 1],
    ]);
  });

  it('is none to rules and draws: a flow is what the inside knows it by, both ways', async () => {
    const rules = [
      { label: 'quic', match: { localPort: 5000, protocol: 'udp' }, both: 'rebind 1s loss 20%' },
    ];
    const lost = async (rebinding: boolean) => {
      const both = rebinding ? 'rebind 0s every 100ms loss 20%' : 'loss 20%';
      await using pair = await link({ ...small, rules: [{ ...rules[0], both }] });
      const { a, b, runtime } = pair;
      let source = INSIDE;
      for (let n = 0; n < 100; n++) {
        a.send(udpPacket({ from: INSIDE, to: REMOTE, payload: n }));
        runtime.advance('10ms');
        source = b.received.length > 0 ? last(b.received).from : INSIDE;
        b.send(udpPacket({ from: REMOTE, to: source, payload: n }));
        runtime.advance('1ms');
      }
      const { up, down } = pair.inspect();
      expect([up, down].map(({ pipelines }) => pipelines[1]?.packets)).toEqual([100, 100]);
      return [a, b].map(({ received }) => received.map(({ bytes }) => bytes.length));
    };
    const [[, up], [, upAlone]] = [await lost(true), await lost(false)];
    expect(up).toEqual(upAlone);
    expect(up.length).toBeLessThan(100);
  });

  it('is told in a verdict log, which can be replayed', async () => {
    await using pair = await link({ both: 'rebind 1s', ...small });
    let text = '';
    pair.net.get<Impair>('up').record((lines) => {
      text += lines;
      return true;
    });
    sourceOf(pair);
    pair.runtime.advance('1s');
    const to = sourceOf(pair);
    pair.net.get<Impair>('up').flushRecord();
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.filter(({ event }) => event === 'rebind')).toEqual([
      { event: 'rebind', at: 1_001_000_000, flow: 'up:1', n: 2, stage: 'up/default/rebind', to },
    ]);
    expect([...parseVerdicts(text).keys()]).toEqual([`up udp ${INSIDE} > ${REMOTE}`]);
  });

  it('begins, changes and ends while packets flow', async () => {
    await using pair = await link({ both: 'pass', ...small });
    expect(sourceOf(pair)).toBe(INSIDE);
    await pair.change({ both: 'rebind 1s every 1s', ...small });
    expect(sourceOf(pair)).toBe(INSIDE);
    pair.runtime.advance('1s');
    const outside = sourceOf(pair);
    expect(outside).not.toBe(INSIDE);
    await pair.change({ both: 'rebind 10s', ...small });
    expect(sourceOf(pair)).toBe(outside);
    pair.runtime.advance('10s');
    expect(sourceOf(pair)).not.toBe(outside);
    await pair.change({ both: 'pass', ...small });
    expect(sourceOf(pair)).toBe(INSIDE);
  });
});

describe('a spec', () => {
  it('has a rebinding in both directions, or in none', () => {
    const expected = 'expected the same one in both';
    expect(() => compileSpec({ up: 'rebind 1s' })).toThrow(expected);
    expect(() => compileSpec({ up: 'rebind 1s', down: 'rebind 2s' })).toThrow(expected);
    expect(() => compileSpec({ up: 'delay 1ms rebind 1s', down: 'rebind 1s loss 1%' })).not.toThrow();
    expect(() => compileSpec({ timeline: [{ at: '1s', up: 'rebind 2s' }] })).toThrow(expected);
    const rule = { label: 'one', match: '*:udp:443' };
    expect(() => compileSpec({ rules: [{ ...rule, down: 'rebind 1s' }] })).toThrow('of "one"');
    expect(() => compileSpec({ rules: [{ ...rule, both: 'rebind 1s' }] })).not.toThrow();
  });

  it('has at most one in a pipeline, with ports and prefixes that are some', () => {
    for (const [text, expected] of [
      ['rebind 1s rebind 2s', 'one rebind at most'],
      ['rebind 1s ports 9-7', 'a port or a range'],
      ['rebind 1s address 10.0.0.1/24', 'expected prefixes'],
      ['rebind 1s every 1us', 'at least 1ms'],
    ]) {
      expect(() => compileSpec(text)).toThrow(expected);
    }
  });
});

describe('a superframe', () => {
  it.each([
    { v6: false, udp: false },
    { v6: true, udp: false },
    { v6: false, udp: true },
    { v6: true, udp: true },
  ])('goes out whole by the name of its flow, and its wire packets have right checksums: %o', (shape) => {
    const d = new Drive(parseStages('rebind 1s address 198.51.100.0/24,2001:db8::/64') as StageInput[]);
    const all = { ...shape, segments: 40, size: 1000 };
    d.send(0, d.superframe(all));
    const packet = d.superframe(all);
    // A second holder of the bytes keeps them as they are.
    const other = d.pool.clone(packet);
    d.send(2e9, packet);
    expect(d.left.map(({ segments }) => segments)).toEqual([40, 40]);
    const [own, outside] = d.left.map(({ bytes }) => endsOf(bytes));
    expect(outside.to).toBe(own.to);
    expect(outside.from.split(/:\d+$/)[0]).not.toBe(own.from.split(/:\d+$/)[0]);
    expect(endsOf(d.pool.copyOut(other)).from).toBe(own.from);
    d.pool.free(other);
    const again = d.superframe(all);
    d.send(3e9, again);
    const [{ bytes }] = d.left.slice(-1);
    const whole = d.superframe(all);
    d.pool.slab.set(bytes, d.pool.offset[whole]);
    const one = slice(d.pool, whole, 3, 1);
    expect(verifyTransport(d.pool.copyOut(one), 0)).toBe(Verdict.Right);
    // The open checksum of the whole is that of its own addresses.
    const { slab, offset, length, checksumStart, checksumOffset } = d.pool;
    expect(
      completeChecksum(slab, offset[whole], length[whole], checksumStart[whole], checksumOffset[whole]),
    ).toBe(true);
    expect(verifyTransport(d.pool.copyOut(whole), 0)).toBe(Verdict.Right);
    d.pool.free(one);
    d.pool.free(whole);
    expect(d.close()).toBe(0);
  });
});
