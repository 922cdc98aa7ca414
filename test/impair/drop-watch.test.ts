import { expect, it } from 'vitest';
import { DropWatch } from '../../src/impair/drop-watch.ts';
import { keyName } from '../../src/impair/log/flow-name.ts';
import { Drive, datagram } from './drive.ts';

function watched(drive: Drive, limit: number): DropWatch {
  const watch = new DropWatch(drive.pool, drive.marks, drive.flows, limit);
  drive.marks.watch = watch;
  return watch;
}

it('tells of each drop whose it was, when, where and why', () => {
  const drive = new Drive({ kind: 'loss', model: 'list', packets: [2] });
  const watch = watched(drive, 10);
  for (const at of [10, 20, 30]) drive.send(at, drive.packet());
  const { drops, total } = watch.take();
  expect([drops.length, total]).toEqual([1, 1]);
  const [{ key, backward, ...drop }] = drops;
  expect(keyName(key!, backward)).toBe('udp 10.0.0.1:1000 > 10.0.0.2:2000');
  expect(drop).toEqual({ at: 20, stage: 'up/test/loss', why: 'loss', packets: 1, bytes: 128 });
  expect(watch.take()).toEqual({ drops: [], total: 0 });
  expect(drive.close()).toBe(0);
});

it('counts the bytes of wire packets of a superframe, headers and all', () => {
  const drive = new Drive({ kind: 'loss', model: 'list', packets: ['2-3'] });
  const watch = watched(drive, 10);
  drive.send(0, drive.superframe({ segments: 5, size: 100 }));
  const { drops } = watch.take();
  expect(drops.reduce((sum, { packets }) => sum + packets, 0)).toBe(2);
  expect(drops.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(2 * 140);
  expect(drive.close()).toBe(0);
});

it('keeps evenly chosen ones of more than it may', () => {
  const drive = new Drive({ kind: 'loss', model: 'random', probability: 1 });
  const watch = watched(drive, 16);
  for (let at = 0; at < 1000; at++) drive.send(at, drive.packet());
  const { drops, total } = watch.take();
  expect(total).toBe(1000);
  expect(drops.length).toBeGreaterThanOrEqual(8);
  expect(drops.length).toBeLessThanOrEqual(16);
  const gaps = drops.slice(1).map(({ at }, i) => at - drops[i]!.at);
  expect(new Set(gaps)).toEqual(new Set([64]));
  // Whoever looks again gets every drop again, while they are few.
  drive.send(2000, drive.packet());
  expect(watch.take().drops.map(({ at }) => at)).toEqual([2000]);
});

it('does not take a flow for another that has its place now', () => {
  const drive = new Drive(
    [
      { kind: 'delay', time: 100 },
      { kind: 'loss', model: 'random', probability: 1 },
    ],
    { flows: 2 },
  );
  const watch = watched(drive, 10);
  drive.send(0, drive.packet(datagram(1)));
  drive.send(10, drive.packet(datagram(2)));
  drive.advance(1000);
  const names = watch.take().drops.map(({ key, backward }) => key && keyName(key, backward));
  expect(names).toEqual([undefined, 'udp 10.0.0.1:2 > 10.0.0.2:2000']);
});
