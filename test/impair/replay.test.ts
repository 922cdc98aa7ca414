import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { Drive, datagram } from './drive.ts';
import { departures, events, logOf, traffic } from './log/recorded.ts';
import { fates } from './served.ts';

const ALL = 'loss gemodel 3% 30% duplicate 3% delay 5ms 3ms distribution normal order allow rate 12mbit';

describe('a replay', () => {
  it('gives the recorded verdicts: who leaves, how often and after how long', async () => {
    const arrivals = traffic(400);
    const recorded = await logOf({ up: ALL, seed: 5 }, arrivals);
    const replayed = await logOf({ up: [{ kind: 'replay', text: recorded }], seed: 6 }, arrivals);
    expect(departures(recorded).length).toBeGreaterThan(300);
    expect(departures(recorded).length).toBeLessThan(400);
    expect(departures(replayed)).toEqual(departures(recorded));
    const drops = (log: string) =>
      events(log).filter(({ event, copy }) => event === 'drop' && copy === undefined);
    const left = new Set(departures(recorded).map((line) => line.split(' ').slice(0, -1).join(' ')));
    const gone = (log: string) =>
      drops(log)
        .map(({ flow, n }) => `${flow} ${n}`)
        .filter((name) => !left.has(name))
        .sort();
    expect(gone(recorded).length).toBeGreaterThan(0);
    expect(gone(replayed)).toEqual(gone(recorded));
  });

  it('is the same whenever the packets come', async () => {
    const arrivals = traffic(200);
    const recorded = await logOf({ up: ALL, seed: 5 }, arrivals);
    const later = arrivals.map(({ at, bytes }) => ({ at: at + 7_000_000_000, bytes }));
    const replayed = await logOf({ up: [{ kind: 'replay', text: recorded }] }, later);
    const earlier = events(replayed).map((event) => ({ ...event, at: event.at - 7_000_000_000 }));
    const lines = earlier
      .filter(({ event }) => event === 'out')
      .map(({ flow, n, at }) => `${flow} ${n} ${at}`);
    expect(lines.sort()).toEqual(departures(recorded));
  });

  const log = (...lines: string[]) =>
    [
      '{"event":"log","version":1,"direction":"up","seed":1}',
      '{"event":"flow","flow":"up:1","is":"udp 10.0.0.1:1 > 10.0.0.2:2000"}',
      '{"event":"flow","flow":"down:1","is":"udp 10.0.0.1:2 > 10.0.0.2:2000"}',
      ...lines,
    ].join('\n');

  it('lets pass at once what the log does not know: other flows, other directions, other numbers', () => {
    const text = log(
      '{"event":"in","at":0,"flow":"up:1","n":2,"bytes":60}',
      '{"event":"out","at":500,"flow":"up:1","n":2}',
      '{"event":"in","at":0,"flow":"down:1","n":1,"bytes":60}',
      '{"event":"drop","at":0,"flow":"down:1","n":1,"stage":"x","why":"loss"}',
      '{"event":"in","at":0,"flow":"up:1","n":3,"bytes":60}',
    );
    const drive = new Drive({ kind: 'replay', text });
    for (const port of [1, 2, 1, 1, 3]) drive.send(drive.now + 1, drive.packet(datagram(port)));
    drive.advance(1e9);
    expect(drive.left.map(({ at, number }) => [at, number])).toEqual([
      [1, 0],
      [2, 0],
      [4, 2],
      [5, 0],
      [503, 1],
    ]);
    expect(drive.stage().details()).toEqual({ waiting: 0, replayed: 1, unknown: 4 });
  });

  it('follows another log from the next packet on', () => {
    const drop = '{"event":"drop","at":0,"flow":"up:1","n":2,"stage":"x","why":"loss"}';
    const drive = new Drive({ kind: 'replay', text: log() });
    drive.send(1, drive.packet(datagram(1)));
    const text = log('{"event":"in","at":0,"flow":"up:1","n":2,"bytes":60}', drop);
    const stage = drive.stage() as unknown as { reconfigure(options: unknown): void };
    stage.reconfigure({ kind: 'replay', text, limit: 10 });
    drive.send(2, drive.packet(datagram(1)));
    drive.advance(1e9);
    expect([drive.left.length, drive.dropped(ImpairDrop.Replayed)]).toEqual([1, 1]);
  });

  it('treats a superframe as its wire packets', () => {
    const lines: string[] = ['{"event":"log","version":1,"direction":"up","seed":1}'];
    lines.push('{"event":"flow","flow":"up:1","is":"tcp 10.0.0.1:1 > 10.0.0.2:2000"}');
    for (let n = 1; n <= 200; n++) {
      lines.push(`{"event":"in","at":0,"flow":"up:1","n":${n},"bytes":1040}`);
      if (n % 11 > 2) lines.push(`{"event":"out","at":${1000 * (n >> 2)},"flow":"up:1","n":${n}}`);
      if (n % 23 === 0) lines.push(`{"event":"out","at":${500 * n},"flow":"up:1","n":${n},"copy":"1"}`);
      if (n % 11 === 0) lines.push(`{"event":"drop","at":0,"flow":"up:1","n":${n},"stage":"x","why":"loss"}`);
    }
    const stage = { kind: 'replay', text: lines.join('\n') } as const;
    const arrivals = Array.from({ length: 20 }, (_, i) => ({ at: i * 1000, segments: 1 + i, port: 1 }));
    const whole = fates(stage, arrivals, { whole: true });
    const single = fates(stage, arrivals, { whole: false });
    expect(single.dropped).toBe(18);
    expect(whole.dropped).toBe(18);
    expect(whole.fates).toEqual(single.fates);
    expect([whole.leaked, single.leaked]).toEqual([0, 0]);
  });

  it('drops and counts what is over its limit', () => {
    const text = log(
      ...[1, 2, 3].flatMap((n) => [
        `{"event":"in","at":0,"flow":"up:1","n":${n},"bytes":60}`,
        `{"event":"out","at":1000,"flow":"up:1","n":${n}}`,
      ]),
    );
    const drive = new Drive({ kind: 'replay', text, limit: 2 });
    for (let i = 0; i < 3; i++) drive.send(1, drive.packet(datagram(1)));
    drive.advance(1e9);
    expect([drive.left.length, drive.dropped(ImpairDrop.Limit), drive.close()]).toEqual([2, 1, 0]);
  });
});
