import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../../src/impair/reasons.ts';
import { Drive, datagram, type StageInput } from '../drive.ts';
import { numbers } from '../served.ts';

const MS = 1_000_000;
type Queue = Extract<StageInput, { kind: 'rate' }>['queue'];

/** A packet of 1000 bytes takes 1 ms. */
const drive = (queue: Queue, seed = 1) => new Drive({ kind: 'rate', rate: '8mbit', queue }, { seed });
const thousand = (port = 1000, ecn = 0) => datagram(port, 972, ecn);

describe('a queue', () => {
  it('droptail keeps the oldest, drophead the newest', () => {
    const kept = (discipline: 'droptail' | 'drophead') => {
      const d = drive({ discipline, limit: 3 });
      for (let i = 0; i < 10; i++) d.send(0, d.packet(thousand()));
      d.advance(1e9);
      expect(d.dropped(ImpairDrop.QueueFull)).toBe(6);
      return d.left.map(({ number }) => number);
    };
    expect(kept('droptail')).toEqual([0, 1, 2, 3]);
    expect(kept('drophead')).toEqual([0, 7, 8, 9]);
  });

  it('has a limit of bytes, under which a shorter packet may still find room', () => {
    const d = drive({ discipline: 'droptail', limitBytes: 2500 });
    for (const payload of [972, 972, 972, 972, 400, 400]) d.send(0, d.packet(datagram(1, payload)));
    d.advance(1e9);
    expect(d.left.map(({ number }) => number)).toEqual([0, 1, 2, 4]);
  });
});

/** 1.25 times what the link takes, for two seconds: when each that is missing would have been served. */
function overloaded(queue: Queue, ecn = 0, spacing = 0.8 * MS) {
  const d = drive(queue);
  const sent = 2500;
  for (let i = 0; i < sent; i++) d.send(i * spacing, d.packet(thousand(1000, ecn)));
  d.advance(1e11);
  return { d, sent, left: d.left };
}

describe('codel', () => {
  it('drops at intervals of 100 ms by the square root of how many there were', () => {
    const { left, d } = overloaded({ discipline: 'codel' });
    // A packet is served at every millisecond; the one before which another was dropped stands behind a gap.
    const instants: number[] = [];
    for (let i = 1; i < left.length; i++) {
      const missing = left[i].number - left[i - 1].number - 1;
      for (let n = 0; n < missing; n++) instants.push(left[i].at - 1 * MS);
    }
    expect(d.dropped(ImpairDrop.Aqm)).toBe(instants.length);
    // Of packets that come while others are served n waits n / 4 ms: over the target of 5 ms from 25 ms on, for 100 ms.
    let next = instants[0];
    expect(Math.abs(next - 125 * MS)).toBeLessThan(2 * MS);
    const loaded = instants.filter((instant) => instant < 2e9);
    expect(loaded.length).toBeGreaterThan(60);
    for (const [n, instant] of loaded.entries()) {
      expect(instant - next).toBeGreaterThanOrEqual(0);
      expect(instant - next).toBeLessThanOrEqual(1 * MS);
      next += Math.round((100 * MS) / Math.sqrt(n + 1));
    }
  });

  it('marks those whose senders understand it instead, and drops the others', () => {
    const marked = overloaded({ discipline: 'codel', ecn: true }, 2);
    expect(marked.d.dropped()).toBe(0);
    expect(marked.left).toHaveLength(marked.sent);
    expect(marked.left.filter(({ bytes }) => (bytes[1] & 3) === 3).length).toBeGreaterThan(60);
    const dropped = overloaded({ discipline: 'codel', ecn: true }, 0);
    expect(dropped.d.dropped(ImpairDrop.Aqm)).toBeGreaterThan(60);
  });

  it('drops nothing while the link keeps up', () => {
    const { left, sent } = overloaded({ discipline: 'codel' }, 0, 1.01 * MS);
    expect(left).toHaveLength(sent);
  });
});

describe('fq_codel', () => {
  it('lets no flow wait for another: one that sends little hardly waits, those that send much share', () => {
    const d = drive({ discipline: 'fq_codel' });
    const ports = new Map<number, number>();
    for (let i = 0; i < 1500; i++) {
      // Two flows with as much as the link takes, each, and one with a packet each 50 ms.
      d.send(i * MS, d.packet(thousand(1)), d.packet(thousand(2)));
      if (i % 50 === 0) d.send(i * MS, d.packet(thousand(3)));
    }
    d.advance(1500 * MS);
    const sparse: number[] = [];
    for (const { bytes, at, number } of d.left) {
      const port = (bytes[20] << 8) | bytes[21];
      ports.set(port, (ports.get(port) ?? 0) + 1);
      if (port === 3) sparse.push(at - number * 50 * MS);
    }
    expect(ports.get(3)).toBe(30);
    // At most the packet that is being sent and a quantum's worth of others besides itself.
    expect(Math.max(...sparse)).toBeLessThanOrEqual(4 * MS);
    expect(Math.abs(ports.get(1)! - ports.get(2)!)).toBeLessThanOrEqual(20);
    expect(d.dropped(ImpairDrop.Aqm)).toBeGreaterThan(20);
    expect(d.close()).toBe(0);
  });

  it('takes from the longest queue when its limit is reached, from its head', () => {
    const d = drive({ discipline: 'fq_codel', limit: 10 });
    d.send(0, ...[1, 1, 1, 1, 1, 1, 1, 1, 1, 1].map(() => d.packet(thousand(1))));
    d.send(0, ...[1, 1, 1].map(() => d.packet(thousand(2))));
    d.advance(1e9);
    const of = (port: number) => d.left.filter(({ bytes }) => bytes[21] === port).map(({ number }) => number);
    expect(of(2)).toEqual([0, 1, 2]);
    expect(of(1)).toEqual([0, 3, 4, 5, 6, 7, 8, 9]);
    expect(d.dropped(ImpairDrop.QueueFull)).toBe(2);
  });

  it('puts flows into other queues for another seed, and into the same for the same', () => {
    const order = (seed: number) => {
      const d = drive({ discipline: 'fq_codel', flows: 2 }, seed);
      for (let n = 0; n < 3; n++) for (let port = 1; port <= 12; port++) d.send(0, d.packet(thousand(port)));
      d.advance(1e9);
      return d.left.map(({ bytes }) => bytes[21]).join();
    };
    expect(order(1)).toBe(order(1));
    expect(new Set([1, 2, 3, 4, 5].map(order)).size).toBeGreaterThan(1);
  });
});

describe('pie', () => {
  it('is done with a month of silence at once, also with a target and a burst that never come back', () => {
    const d = drive({ discipline: 'pie', target: 0, tupdate: MS });
    d.send(30 * 86_400 * 1000 * MS, d.packet(thousand()));
    expect(d.left).toHaveLength(0);
    d.advance(30 * 86_400 * 1000 * MS + MS);
    expect(d.left).toHaveLength(1);
  });

  it('holds the wait near its target where a plain queue would fill up', () => {
    const random = numbers(5);
    const d = drive({ discipline: 'pie' });
    const sent: number[] = [];
    for (let at = 0; at < 8e9; at += 1.6 * MS * random()) sent.push(Math.floor(at));
    for (const at of sent) d.send(at, d.packet(thousand()));
    d.advance(1e11);
    const waits = d.left.filter(({ at }) => at > 4e9).map(({ at, number }) => at - sent[number]);
    const mean = waits.reduce((sum, wait) => sum + wait, 0) / waits.length;
    expect(mean).toBeGreaterThan(5 * MS);
    expect(mean).toBeLessThan(30 * MS);
    expect(d.dropped(ImpairDrop.Aqm) / sent.length).toBeGreaterThan(0.1);
    expect(d.dropped(ImpairDrop.QueueFull)).toBe(0);
  });

  it('lets a burst pass that is over within its allowance', () => {
    const d = drive({ discipline: 'pie' });
    for (let i = 0; i < 100; i++) d.send(0, d.packet(thousand()));
    d.advance(1e11);
    expect(d.left).toHaveLength(100);
  });
});
