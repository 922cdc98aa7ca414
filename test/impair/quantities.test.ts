import { expect, it } from 'vitest';
import { parseRate, parseSize, parseTime } from '../../src/impair/quantities.ts';

const MANY = '9'.repeat(310);

it.each([
  [parseTime, `${MANY}s`],
  [parseTime, '105000m 1s'],
  [parseTime, '200000m'],
  [parseTime, 2 ** 60],
  [parseRate, `${MANY}bit`],
  [parseRate, '0bit'],
  [parseSize, MANY],
  [parseSize, `${MANY}kb`],
] as const)('%o has no number for %s', (parse, text) => {
  expect(parse(text)).toBeUndefined();
});

it('numbers that are written out are those of their units', () => {
  expect(parseTime('104d')).toBeUndefined();
  expect(parseTime('149000m')).toBe(149_000 * 60e9);
  expect(parseRate('1.5gbit')).toBe(1.5e9);
  expect(parseRate('64kbps')).toBe(512e3);
  expect(parseSize('1.5kb')).toBe(1536);
});
