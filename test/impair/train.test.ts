import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import { Network } from '../../src/engine/network.ts';
import { impair } from '../../src/impair/impair.ts';
import { packetAt } from '../../src/impair/marks.ts';
import { compileSpec } from '../../src/impair/spec/spec.ts';
import { Train } from '../../src/impair/train.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { MemoryPort } from '../../src/tun/memory.ts';

it('rows of packets become one in the order of their times, and of equal times in the order in which they stood', () => {
  const rows = fc.array(fc.array(fc.nat(20), { maxLength: 40 }), { maxLength: 12 });
  fc.assert(
    fc.property(rows, fc.nat(5), (rows, before) => {
      const train = new Train();
      const times = rows.flatMap((row) => row.sort((a, b) => a - b));
      const at = Float64Array.from([...Array.from({ length: before }, () => 99), ...times]);
      for (let mark = 0; mark < at.length; mark++) train.add(packetAt(mark));
      train.order(before, at);
      const marks = Array.from({ length: at.length }, (_, mark) => mark);
      const sorted = marks.slice(before).sort((a, b) => at[a]! - at[b]! || a - b);
      expect(Array.from(train.packets.subarray(0, train.count))).toEqual(
        [...marks.slice(0, before), ...sorted].map(packetAt),
      );
    }),
    { seed: 6, numRuns: 300 },
  );
});

it('packets of several rules leave in the order of their times also where the machine was late', async () => {
  const rules = [
    { label: 'slow', match: '*:udp:1', both: 'delay 100ms' },
    { label: 'fast', match: '*:udp:2', both: 'delay 60ms' },
  ];
  const net = new Network(new LiveRuntime(), { memory: 256 << 20 });
  const [a, b] = [new MemoryPort(), new MemoryPort()];
  net.app('a', a).app('b', b);
  net.app('up', impair(compileSpec({ rules }).up));
  await net.link('a.out -> up.in').link('up.out -> b.in').start();
  try {
    for (const port of [1, 2, 1, 2]) a.send(udpPacket({ to: `10.0.0.2:${port}` }));
    await new Promise((resolve) => setTimeout(resolve, 5));
    // Both are due when the thread comes to them again.
    for (const end = performance.now() + 120; performance.now() < end; );
    await expect.poll(() => b.received.length).toBe(4);
    expect(b.received.map(({ bytes }) => bytes[23])).toEqual([2, 2, 1, 1]);
  } finally {
    await net.close();
  }
});
