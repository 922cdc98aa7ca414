import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { Drive, datagram } from './drive.ts';
import { fates, numbers } from './served.ts';

const MS = 1_000_000;

describe('police', () => {
  it('lets pass what a bucket of its burst that fills at its rate lets pass, over any window', () => {
    const random = numbers(9);
    const drive = new Drive({ kind: 'police', rate: '8mbit', burst: '10000' });
    const sent: { at: number; bytes: number }[] = [];
    for (let at = 0; at < 2e9; at += Math.floor(random() * 1.2 * MS)) {
      const bytes = 28 + Math.floor(random() * 1400);
      sent.push({ at, bytes });
      drive.send(at, drive.packet(datagram(1, bytes - 28)));
    }
    expect(drive.left.length + drive.dropped(ImpairDrop.Policed)).toBe(sent.length);
    const passed = new Set(drive.left.map(({ number }) => number));
    let tokens = 10_000;
    let last = 0;
    for (const [number, { at, bytes }] of sent.entries()) {
      tokens = Math.min(10_000, tokens + (at - last) / 1000);
      last = at;
      expect(passed.has(number)).toBe(tokens >= bytes - 1e-6);
      if (passed.has(number)) tokens -= bytes;
    }
    expect(drive.dropped()).toBeGreaterThan(100);
    for (const { at, time } of drive.left) expect(time).toBe(at);
  });

  it('takes its burst as a time', () => {
    const drive = new Drive({ kind: 'police', rate: '8mbit', burst: '10ms' });
    for (let i = 0; i < 50; i++) drive.send(0, drive.packet(datagram(1, 972)));
    expect(drive.left).toHaveLength(10);
  });

  it('marks those whose senders understand it', () => {
    const drive = new Drive({ kind: 'police', rate: '8mbit', burst: '2000', action: 'mark' });
    for (let i = 0; i < 5; i++) drive.send(0, drive.packet(datagram(1, 972, i === 4 ? 0 : 2)));
    expect(drive.left.map(({ bytes }) => bytes[1] & 3)).toEqual([2, 2, 3, 3]);
    expect(drive.dropped(ImpairDrop.Policed)).toBe(1);
  });

  it('treats a superframe as its wire packets', () => {
    const random = numbers(4);
    const arrivals = Array.from({ length: 100 }, (_, i) => ({
      at: i * 3 * MS,
      segments: 1 + Math.floor(random() * 15),
      port: 1,
      size: 300 + Math.floor(random() * 900),
      ecn: i % 2 === 0 ? 2 : 0,
    }));
    const stage = { kind: 'police', rate: '12mbit', burst: '9000', action: 'mark' } as const;
    const single = fates(stage, arrivals, { whole: false });
    const whole = fates(stage, arrivals, { whole: true });
    expect(single.dropped).toBeGreaterThan(20);
    expect(whole.fates).toEqual(single.fates);
    expect(whole.leaked).toBe(0);
  });
});

describe('police with framing ethernet', () => {
  it('counts what a packet takes on an Ethernet wire, also the smallest', () => {
    // 1538 bytes for 1500 of IP, and 84 for everything of up to 46.
    for (const [payload, wire] of [
      [1472, 1538],
      [10, 84],
    ]) {
      const drive = new Drive({
        kind: 'police',
        rate: '8mbit',
        burst: String(20 * 1538),
        framing: 'ethernet',
      });
      const packets = Array.from({ length: 500 }, () => drive.packet(datagram(1000, payload)));
      drive.send(0, ...packets);
      expect(drive.left.length).toBe(Math.floor((20 * 1538) / wire));
      expect(drive.close()).toBe(0);
    }
  });

  it('has room for a full frame, however small the burst', () => {
    const drive = new Drive({ kind: 'police', rate: '8kbit', burst: '0', framing: 'ethernet' });
    drive.send(0, drive.packet(datagram(1000, 1472)), drive.packet(datagram(1000, 1472)));
    expect(drive.left.length).toBe(1);
  });
});
