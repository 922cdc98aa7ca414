import { describe, expect, it } from 'vitest';
import { read } from '../../house/sources.ts';

const css = read('src/control/page/shared/page.css');

/** The colours of a scheme by their names; dark ones go before light ones. */
function colours(scheme: 'light' | 'dark'): Map<string, string> {
  const dark = css.indexOf('@media (prefers-color-scheme: dark)');
  const text = scheme === 'light' ? css.slice(0, dark) : css.slice(0, css.indexOf('* {', dark));
  return new Map([...text.matchAll(/--([\w-]+): (#[\da-f]{6});/g)].map((found) => [found[1]!, found[2]!]));
}

/** Relative luminance, WCAG 2.2. */
function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function contrast(one: string, other: string): number {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high! + 0.05) / (low! + 0.05);
}

const TEXT: [text: string, grounds: string[]][] = [
  ['text', ['ground', 'panel', 'grid', 'chosen']],
  ['faint', ['ground', 'panel', 'grid', 'chosen']],
  ['up', ['panel', 'grid', 'chosen']],
  ['down', ['panel', 'grid', 'chosen']],
  ['accent', ['panel']],
  ['on-accent', ['accent']],
  ['changed', ['panel', 'changed-ground']],
  ['bad', ['panel', 'bad-ground', 'grid', 'chosen']],
];
const LINES: [line: string, grounds: string[]][] = [
  ['edge', ['panel']],
  ['good', ['panel']],
  ['up', ['changed-ground']],
  ['down', ['changed-ground']],
];

describe.each(['light', 'dark'] as const)('in %s colours', (scheme) => {
  const known = colours(scheme);
  const pairs = (list: typeof TEXT) =>
    list.flatMap(([one, grounds]) => grounds.map((ground) => [one, ground]));
  const between = ([one, ground]: string[]) => contrast(known.get(one!)!, known.get(ground!)!);

  it('text has a contrast of 4.5 to what is behind it', () => {
    expect(pairs(TEXT).filter((pair) => !(between(pair) >= 4.5))).toEqual([]);
  });

  it('borders of controls, marks and lines have one of 3', () => {
    expect(pairs(LINES).filter((pair) => !(between(pair) >= 3))).toEqual([]);
  });
});

it('the arithmetic is that of the standard', () => {
  expect(contrast('#000000', '#ffffff')).toBeCloseTo(21, 5);
  expect(contrast('#777777', '#ffffff')).toBeCloseTo(4.48, 2);
});
