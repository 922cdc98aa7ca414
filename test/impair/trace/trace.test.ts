import { describe, expect, it } from 'vitest';
import { impair } from '../../../src/impair/impair.ts';
import { ImpairDrop } from '../../../src/impair/reasons.ts';
import { traceSchema } from '../../../src/impair/trace/trace.ts';
import { impairedPair } from '../../../src/testing/impaired-pair.ts';
import { testNetwork } from '../../../src/testing/network.ts';
import { Drive, datagram } from '../drive.ts';
import { fates, numbers } from '../served.ts';

const MS = 1_000_000;

/** mm-link's emulation of a link, millisecond by millisecond: when each packet leaves, in ms; undefined if never. */
function mahimahi(
  schedule: number[],
  arrivals: { ms: number; bytes: number }[],
  mtu: number,
  repeat: boolean,
) {
  const left: (number | undefined)[] = arrivals.map(() => undefined);
  const queue: { packet: number; rest: number }[] = [];
  let [arrived, place, base] = [0, 0, 0];
  for (let ms = 0; ms < 20_000; ms++) {
    while (schedule[place] + base === ms) {
      for (let bytes = mtu; bytes > 0 && queue.length > 0; ) {
        const sent = Math.min(bytes, queue[0].rest);
        queue[0].rest -= sent;
        bytes -= sent;
        if (queue[0].rest === 0) left[queue.shift()!.packet] = ms;
      }
      place++;
      if (place < schedule.length) continue;
      if (!repeat) return left;
      place = 0;
      base += schedule.at(-1)!;
    }
    for (; arrived < arrivals.length && arrivals[arrived].ms === ms; arrived++)
      queue.push({ packet: arrived, rest: arrivals[arrived].bytes });
  }
  return left;
}

describe('a trace of packet-delivery opportunities', () => {
  const random = numbers(17);
  // As in recorded ones: several in a millisecond, outages, and one at the start.
  const schedule = [0, 0, 3];
  while (schedule.at(-1)! < 700) {
    const ms = schedule.at(-1)! + Math.floor(random() * random() * 12);
    for (let n = Math.floor(random() * 4); n >= 0; n--) schedule.push(ms);
  }
  schedule.push(900);
  const arrivals: { ms: number; bytes: number }[] = [];
  for (let ms = 0; ms < 5000; ms += Math.floor(random() * 9))
    arrivals.push({ ms, bytes: 28 + Math.floor(random() * 1472) });
  arrivals.push({ ms: 9000, bytes: 1500 }, { ms: 9000, bytes: 1500 });

  it.each([
    [1504, true],
    [1500, true],
    [700, true],
    [1504, false],
  ])('delivers at mm-link’s milliseconds with %i bytes each, repeated: %s', (mtu, repeat) => {
    const drive = new Drive({
      kind: 'trace',
      format: 'mahimahi',
      text: `${schedule.join('\n')}\n`,
      mtu,
      repeat,
      queue: { discipline: 'droptail', limitBytes: '10mb' },
    });
    for (const { ms, bytes } of arrivals) drive.send(ms * MS, drive.packet(datagram(1, bytes - 28)));
    drive.advance(20_000 * MS - 1);
    const left: (number | undefined)[] = arrivals.map(() => undefined);
    for (const { number, at } of drive.left) left[number] = at / MS;
    expect(drive.left.length).toBeGreaterThan(100);
    expect(left).toEqual(mahimahi(schedule, arrivals, mtu, repeat));
    expect(drive.close()).toBe(0);
  });

  it('treats a superframe as its wire packets', () => {
    const stage = { kind: 'trace', format: 'mahimahi', text: schedule.join('\n') } as const;
    const arrivals = Array.from({ length: 100 }, (_, i) => ({
      at: i * 40 * MS,
      segments: 1 + (i % 25),
      port: 1,
    }));
    const single = fates(stage, arrivals, { whole: false });
    const whole = fates(stage, arrivals, { whole: true });
    expect(whole.fates).toEqual(single.fates);
    expect(whole.leaked).toBe(0);
  });

  it.each([
    ['', 'no lines'],
    ['0\n', 'more than 0 ms'],
    ['5\n3\n', 'line 2: 3 is before'],
    ['5\n\n7\n', 'line 2: found ""'],
    ['5\nx\n', 'line 2: found "x"'],
    ['-1\n', 'line 1: found "-1"'],
  ])('says what is wrong with %j', (text, message) => {
    const result = traceSchema.safeParse({ kind: 'trace', format: 'mahimahi', text });
    expect(result.error?.issues[0].message).toContain(message);
  });
});

it('a trace of another format takes the place of one, which drains into it', async () => {
  const table = { kind: 'trace', format: 'csv', text: 'time,rate\n0,8mbit', name: 't' } as const;
  const opportunities = { kind: 'trace', format: 'mahimahi', text: '5', name: 't' } as const;
  await using world = await testNetwork().between(impair({ seed: 1, stages: [table] }));
  world.a.send(datagram(1, 972));
  world.a.send(datagram(1, 972));
  world.runtime.advance('1500us');
  await world.net.app('app0', impair({ seed: 1, stages: [opportunities] })).commit();
  world.a.send(datagram(1, 972));
  world.runtime.advance('10ms');
  expect(world.b.received.map(({ time }) => time / MS)).toEqual([1, 5, 10]);
});

describe('a table of rate, delay and loss', () => {
  const csv = (text: string, more: object = {}) =>
    new Drive({ kind: 'trace', format: 'csv', text, ...more } as {
      kind: 'trace';
      format: 'csv';
      text: string;
    });

  it('changes the rate under a packet that is being sent, and stops for an outage', () => {
    const drive = csv('time,rate\n0,8mbit\n0.0105,4mbit\n0.012,0\n0.02,80mbit\n1,8mbit\n');
    // 1000 bytes: sent for 0.5 ms at 8 Mbit/s and for 1 ms at 4; the next for 0.5 ms at 4, then after the outage.
    drive.send(10 * MS, drive.packet(datagram(1, 972)), drive.packet(datagram(1, 972)));
    drive.advance(1e9);
    expect(drive.left.map(({ at }) => at / MS)).toEqual([11.5, 20.075]);
  });

  it('delays what leaves by the row in force then, and keeps the order', () => {
    const drive = csv('time,delay\n0,50ms\n0.1,10ms\n', { repeat: false });
    drive.send(95 * MS, drive.packet());
    drive.send(105 * MS, drive.packet());
    drive.send(200 * MS, drive.packet());
    drive.advance(1e9);
    expect(drive.left.map(({ at, number }) => [number, at / MS])).toEqual([
      [0, 145],
      [1, 145],
      [2, 210],
    ]);
    expect(drive.left.every(({ at, time }) => at === time)).toBe(true);
  });

  it('loses the share of the row in force, and begins again at its end', () => {
    const drive = csv('time,loss\n0,0\n1,50%\n2,0\n');
    const seen = drive.many(40_000, 0.1 * MS, datagram(1, 10));
    const lost = [0, 1, 2, 3].map(
      (s) => 10_000 - seen.slice(s * 10_000, (s + 1) * 10_000).reduce((a, b) => a + b, 0),
    );
    expect([lost[0], lost[2]]).toEqual([0, 0]);
    for (const n of [lost[1], lost[3]]) expect(Math.abs(n - 5000)).toBeLessThan(3.29 * 50);
    expect(drive.dropped(ImpairDrop.Loss)).toBe(lost[1] + lost[3]);
  });

  it('treats a superframe as its wire packets', () => {
    const stage = {
      kind: 'trace',
      format: 'csv',
      text: 'time,rate,delay,loss\n0,8mbit,5ms,1%\n0.3,20mbit,1ms,10%\n0.5,1mbit,20ms,0\n0.6,0,0,0\n0.7,8mbit,0,0',
      queue: { discipline: 'droptail', limit: 40 },
    } as const;
    const arrivals = Array.from({ length: 150 }, (_, i) => ({
      at: i * 9 * MS,
      segments: 1 + (i % 17),
      port: 1 + (i % 3),
    }));
    const single = fates(stage, arrivals, { whole: false });
    const whole = fates(stage, arrivals, { whole: true });
    expect(single.dropped).toBeGreaterThan(50);
    expect(whole.fates).toEqual(single.fates);
    expect(whole.leaked).toBe(0);
  });

  it('may be silent in all rows but the last, which stays when it is not repeated', () => {
    const drive = csv('time,rate\n0,0\n0.5,8mbit', { repeat: false });
    drive.send(0, drive.packet(datagram(1, 972)));
    drive.advance(1e9);
    expect(drive.left.map(({ at }) => at / MS)).toEqual([501]);
    const silent = { kind: 'trace', format: 'csv', text: 'time,rate\n0,0\n0.5,0', repeat: false };
    expect(traceSchema.safeParse(silent).error?.issues[0].message).toContain('rate is 0 in every row');
  });

  it('that is so slow that a packet takes more than there is time never lets it leave', () => {
    const drive = csv(`time,rate\n0,0.${'0'.repeat(310)}1\n1,0\n2,0`);
    drive.send(0, drive.packet());
    drive.advance(1e12);
    expect([drive.left.length, drive.close()]).toEqual([0, 0]);
  });

  it.each([
    ['rate\n1mbit', 'no column "time"'],
    ['time,colour\n0,red', 'column "colour"'],
    ['time,rate\n1,1mbit', 'times start at 0'],
    ['time,rate\n0,1mbit\n0,2mbit', 'rise from row to row'],
    ['time,rate\n0,1mbit\n999ns,2mbit', 'line 3: rows are 1us apart'],
    ['time,rate\n0,fast', 'found rate "fast"'],
    ['time,rate\n0', 'found 1 values'],
    ['time,rate\n0,0\n1,0', 'rate is 0'],
    ['time,rate\n0,0\n1,1mbit', 'rate is 0'],
    ['time,rate', 'no rows'],
    [`time,rate\n0,1mbit\n${'9'.repeat(310)},1mbit`, 'found time'],
    [`time,delay\n0,${'9'.repeat(310)}s\n1,0`, 'found delay'],
    [`time,rate\n0,${'9'.repeat(310)}bit\n1,1mbit`, 'found rate'],
  ])('says what is wrong with %j', (text, message) => {
    const result = traceSchema.safeParse({ kind: 'trace', format: 'csv', text });
    expect(result.error?.issues[0].message).toContain(message);
  });
});

describe('a trace that is over, with packets still waiting', () => {
  it.each([
    ['mahimahi', '1\n2\n', '5\n10\n', 1015],
    ['csv', 'time,rate\n0,8mbit\n0.005,0', 'time,rate\n0,8mbit', 1011],
  ] as const)('lets them go by a new one that takes its place (%s)', async (format, over, next, ms) => {
    const trace = { kind: 'trace', format, repeat: false };
    await using world = await impairedPair({ up: [{ ...trace, text: over }], seed: 1 });
    world.runtime.advance('10ms');
    world.a.send(datagram(1, 972));
    world.runtime.advance('1s');
    expect(world.b.received).toHaveLength(0);
    await world.change({ up: [{ ...trace, text: next, repeat: true }], seed: 1 });
    world.runtime.advance('1s');
    expect(world.b.received.map(({ time }) => time / MS)).toEqual([ms]);
  });
});
