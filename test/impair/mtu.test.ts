import { expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { parseStages } from '../../src/impair/spec/text.ts';
import { Verdict, verifyTransport } from '../../src/packet/transport.ts';
import { Drive, datagram, type StageInput } from './drive.ts';

const drive = (text: string) => new Drive(parseStages(text) as StageInput[]);

it('the longest packet that passes is exactly as long as the MTU', () => {
  const d = drive('mtu 1400');
  for (const payload of [1371, 1372, 1373]) d.send(payload, d.packet(datagram(1, payload)));
  expect(d.left.map(({ bytes }) => bytes.length)).toEqual([1399, 1400]);
  expect(d.dropped(ImpairDrop.Mtu)).toBe(1);
});

it('a superframe passes whole when its segments fit, whatever its own length', () => {
  const d = drive('mtu 140');
  d.send(0, d.superframe({ segments: 40, size: 100 }));
  expect(d.left.map(({ segments }) => segments)).toEqual([40]);
});

it('of a superframe of too long segments the last passes alone if it is short enough', () => {
  const d = drive('mtu 139');
  d.send(0, d.superframe({ segments: 40, size: 100 }));
  expect([d.left.length, d.dropped(ImpairDrop.Mtu)]).toEqual([0, 40]);
  const packet = d.superframe({ segments: 40, size: 100 });
  d.pool.length[packet] -= 1;
  d.pool.slab[d.pool.offset[packet] + 3] -= 1;
  d.send(1, packet);
  expect(d.left.map(({ number, segments }) => [number, segments])).toEqual([[79, 1]]);
  expect(d.left[0].bytes).toHaveLength(139);
  expect(verifyTransport(d.left[0].bytes, 0)).toBe(Verdict.Right);
  expect([d.dropped(ImpairDrop.Mtu), d.close()]).toEqual([79, 0]);
});
