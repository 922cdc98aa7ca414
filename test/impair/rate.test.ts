import { describe, expect, it } from 'vitest';
import { lineBytes } from '../../src/impair/rate.ts';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { parseStages } from '../../src/impair/spec/text.ts';
import { Drive, datagram } from './drive.ts';
import { type Arrival, departures, fates, numbers } from './served.ts';

const MS = 1_000_000;

describe('a rate', () => {
  it.each(['100kbit', '1mbit', '10mbit', '100mbit', '1gbit'])('of %s is kept over any window', (rate) => {
    const drive = new Drive({ kind: 'rate', rate, queue: { discipline: 'droptail', limitBytes: '10mb' } });
    const random = numbers(7);
    const bitRate = Number(rate.replace(/\D/g, '')) * { k: 1e3, m: 1e6, g: 1e9 }[rate.at(-4) as 'k'];
    const sizes = Array.from({ length: 1000 }, () => Math.floor(random() * 1472));
    for (const size of sizes) drive.send(0, drive.packet(datagram(1000, size)));
    drive.advance(1e15);
    expect(drive.left).toHaveLength(1000);
    let bits = 0;
    for (const [i, { at, time }] of drive.left.entries()) {
      bits += (sizes[i] + 28) * 8;
      // From the start on, so over any window two of these: never early, and late by the rounding up alone.
      const ideal = (bits * 1e9) / bitRate;
      expect(at - ideal).toBeGreaterThan(-0.01);
      expect(at - ideal).toBeLessThan(1);
      expect(time).toBe(at);
    }
  });

  it('lets a packet leave when its last bit has, and one that comes later start anew', () => {
    const drive = new Drive({ kind: 'rate', rate: '8mbit' });
    drive.send(0, drive.packet(datagram(1, 972)));
    drive.send(5 * MS, drive.packet(datagram(1, 972)));
    drive.advance(10 * MS);
    expect(drive.left.map(({ at }) => at)).toEqual([1 * MS, 6 * MS]);
  });

  it('counts overhead and cells as netem does', () => {
    expect(lineBytes(100, 20, 0, 0)).toBe(120);
    expect(lineBytes(100, -20, 0, 0)).toBe(80);
    // 100 + 4 bytes in three ATM cells.
    expect(lineBytes(100, 4, 48, 5)).toBe(3 * 53);
    expect(lineBytes(96, 0, 48, 5)).toBe(2 * 53);
    const atm = { kind: 'rate', rate: '8mbit', overhead: 4, cellSize: 48, cellOverhead: 5 } as const;
    expect(departures(atm, [72, 72])).toEqual([159_000, 318_000]);
  });

  it('holds 200 ms of itself in a queue where nothing else is said', () => {
    const drive = new Drive({ kind: 'rate', rate: '8mbit' });
    for (let i = 0; i < 250; i++) drive.send(0, drive.packet(datagram(1, 972)));
    drive.advance(1e12);
    // The one that is being sent is not in the queue.
    expect(drive.left).toHaveLength(201);
    expect(drive.dropped(ImpairDrop.QueueFull)).toBe(49);
    expect(drive.close()).toBe(0);
  });

  it('is changed in place: the packet being sent keeps its time, those behind it go at the new rate', () => {
    const drive = new Drive({ kind: 'rate', rate: '8mbit' });
    drive.send(0, ...[1, 2, 3].map(() => drive.packet(datagram(1, 972))));
    drive.advance(MS / 2);
    (drive.stage() as unknown as { reconfigure(o: object): void }).reconfigure({
      kind: 'rate',
      rate: 80e6,
      overhead: 0,
      cellSize: 0,
      cellOverhead: 0,
      queue: {
        discipline: 'fq_codel',
        limit: 100,
        limitBytes: 1e6,
        target: 5 * MS,
        interval: 100 * MS,
        ecn: false,
        flows: 16,
        quantum: 1514,
      },
    });
    drive.advance(10 * MS);
    expect(drive.left.map(({ at }) => at)).toEqual([1 * MS, 1.1 * MS, 1.2 * MS]);
    expect(drive.close()).toBe(0);
  });

  it('is read from text, with the options of its queue', () => {
    expect(
      parseStages(
        'rate 5mbit 4 48 5 queue codel target 10ms ecn limit 100 rate 1gbit slot 1ms 2ms packets 4',
      ),
    ).toEqual([
      {
        kind: 'rate',
        rate: '5mbit',
        overhead: 4,
        cellSize: 48,
        cellOverhead: 5,
        queue: { discipline: 'codel', target: '10ms', ecn: true, limit: 100 },
      },
      { kind: 'rate', rate: '1gbit' },
      { kind: 'slot', min: '1ms', max: '2ms', packets: 4 },
    ]);
    expect(() => parseStages('rate 5mbit queue red')).toThrow(
      'one of droptail, drophead, codel, fq_codel, pie',
    );
  });

  it('frees what it holds at the end', () => {
    const drive = new Drive({ kind: 'rate', rate: '1mbit' });
    drive.send(0, drive.superframe({ segments: 20, size: 1000 }), drive.packet());
    drive.advance(20 * MS);
    expect(drive.left.length).toBeGreaterThan(0);
    expect(drive.stage().held()).toBe(2);
    expect(drive.close()).toBe(0);
  });
});

describe('a superframe behind a rate', () => {
  it('leaves as its wire packets at 100 Mbit/s, whole at 12 Gbit/s at its last one’s time', () => {
    const shape = { segments: 43, size: 1460 };
    const at = (rate: string) => {
      const drive = new Drive(
        { kind: 'rate', rate, queue: { discipline: 'droptail', limitBytes: '1mb' } },
        { quantum: 50_000 },
      );
      drive.send(0, drive.superframe(shape));
      drive.advance(1e9);
      return drive.left.map((d) => [d.segments, d.at]);
    };
    expect(at('100mbit')).toEqual(Array.from({ length: 43 }, (_, i) => [1, (i + 1) * 120_000]));
    expect(at('12gbit')).toEqual([[43, 43_000]]);
  });

  const QUEUES = [
    { discipline: 'droptail', limit: 30 },
    { discipline: 'droptail', limitBytes: 20_500 },
    { discipline: 'drophead', limit: 30 },
    { discipline: 'drophead', limitBytes: 20_500 },
    { discipline: 'codel', interval: '20ms', ecn: true },
    { discipline: 'codel', interval: '20ms', limit: 100 },
    { discipline: 'fq_codel', interval: '20ms', flows: 8 },
    { discipline: 'fq_codel', flows: 8, limit: 40, ecn: true },
    { discipline: 'pie', burst: 0 },
    { discipline: 'pie', burst: 0, ecn: true, limit: 100 },
  ] as const;

  it.each(QUEUES)('and a queue %j fares as its wire packets one by one', (queue) => {
    const random = numbers(3);
    const arrivals: Arrival[] = [];
    for (let i = 0, at = 0; i < 150; i++) {
      at += Math.floor(random() * random() * 9 * MS);
      arrivals.push({
        at,
        segments: 1 + Math.floor(random() * 20),
        port: 1 + Math.floor(random() * 5),
        size: 200 + Math.floor(random() * 1200),
        ecn: random() < 0.5 ? 2 : 0,
      });
    }
    const stage = { kind: 'rate', rate: '20mbit', queue } as const;
    const single = fates(stage, arrivals, { whole: false });
    const whole = fates(stage, arrivals, { whole: true, quantum: 0 });
    const merged = fates(stage, arrivals, { whole: true, quantum: 2 * MS });
    expect(single.dropped).toBeGreaterThan(5);
    expect(whole.fates).toEqual(single.fates);
    expect(whole.dropped).toBe(single.dropped);
    // Together, but never early, and by no more than the quantum late.
    expect([...merged.fates.keys()].sort()).toEqual([...single.fates.keys()].sort());
    expect(merged.left).toBeLessThan(whole.left);
    for (const [name, { at, ecn }] of merged.fates) {
      const exact = single.fates.get(name)!;
      expect(at - exact.at).toBeGreaterThanOrEqual(0);
      expect(at - exact.at).toBeLessThanOrEqual(2 * MS);
      expect(ecn).toBe(exact.ecn);
    }
    expect([single.leaked, whole.leaked, merged.leaked]).toEqual([0, 0, 0]);
  });
});
