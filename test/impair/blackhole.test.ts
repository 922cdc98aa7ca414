import { expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { parseStages } from '../../src/impair/spec/text.ts';
import { Drive, type StageInput } from './drive.ts';

const drive = (text: string) => new Drive(parseStages(text) as StageInput[]);

it('a black hole takes everything', () => {
  const d = drive('blackhole');
  d.send(0, d.packet(), d.superframe({ segments: 9 }));
  d.send(1e12, d.packet());
  expect([d.left.length, d.dropped(ImpairDrop.Blackhole), d.close()]).toEqual([0, 11, 0]);
});

it('a black hole takes what comes to it between two times, though it entered the link before', () => {
  const d = drive('delay 1s blackhole from 3s until 5s');
  for (let t = 0; t < 6; t++) d.send(t * 1e9, d.packet());
  d.advance(10e9);
  expect(d.left.map(({ at }) => at / 1e9)).toEqual([1, 2, 5, 6]);
});
