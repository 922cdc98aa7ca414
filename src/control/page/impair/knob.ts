/**
 * Rate, delay and loss as a person sets them: a slider whose places are round numbers on a logarithmic scale, with a place
 * for "none" at one end, and a text beside it that takes any number.
 */

export const KNOBS = ['rate', 'delay', 'loss'] as const;
export type KnobName = (typeof KNOBS)[number];

export interface Knob {
  readonly name: KnobName;
  /** The slider's places, rising: bit/s, ns, or 0..1. */
  readonly places: readonly number[];
  /** At which end of the slider there is none. */
  readonly none: 'first' | 'last';
  /** What "none" is called. */
  readonly noneText: string;
  /** For people: `5 Mbit/s`. */
  show(value: number): string;
  /** For specs: `5mbit`. */
  write(value: number): string;
  /** A value, undefined for "none", or null for what it cannot be. A number alone has the unit that people expect. */
  read(text: string): number | undefined | null;
  /** What may be written, for the one who wrote something else. */
  readonly expected: string;
}

const ROUND = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];

/** Round numbers from `from` (a power of ten) over so many decades. */
function places(from: number, decades: number): number[] {
  const found: number[] = [];
  for (let decade = 0; decade < decades; decade++) {
    for (const round of ROUND) found.push(tidy(from * 10 ** decade * round));
  }
  return [...found, tidy(from * 10 ** decades)];
}

/** Without the last digits, in which binary fractions show. */
const tidy = (value: number): number => Number(value.toPrecision(12));

type Unit = readonly [unit: string, size: number];

/** In the largest unit in which it is at least 1. */
function inUnits(value: number, units: readonly Unit[], space: string): string {
  const [unit, size] = units.findLast(([, size]) => value >= size) ?? units[0]!;
  return `${tidy(value / size)}${space}${unit}`;
}

function reader(units: Readonly<Record<string, number>>, most: number) {
  return (text: string): number | undefined | null => {
    const words = text.trim().toLowerCase();
    if (/^(|-|–|none|off|unlimited|no limit)$/.test(words)) return undefined;
    const match = /^(\d+(?:[.,]\d+)?|[.,]\d+)\s*(\S*)$/.exec(words);
    const size = match && Object.hasOwn(units, match[2]!) ? units[match[2]!] : undefined;
    if (!match || size === undefined) return null;
    const value = tidy(Number(match[1]!.replace(',', '.')) * size);
    return value > most ? null : value === 0 ? undefined : value;
  };
}

const RATES: readonly Unit[] = [
  ['bit', 1],
  ['kbit', 1e3],
  ['mbit', 1e6],
  ['gbit', 1e9],
];
const RATES_SHOWN: readonly Unit[] = [
  ['bit/s', 1],
  ['kbit/s', 1e3],
  ['Mbit/s', 1e6],
  ['Gbit/s', 1e9],
];
const TIMES: readonly Unit[] = [
  ['ns', 1],
  ['us', 1e3],
  ['ms', 1e6],
  ['s', 1e9],
];
const TIMES_SHOWN: readonly Unit[] = [
  ['ns', 1],
  ['µs', 1e3],
  ['ms', 1e6],
  ['s', 1e9],
];

const rate: Knob = {
  name: 'rate',
  places: places(1e4, 6),
  none: 'last',
  noneText: 'no limit',
  show: (value) => inUnits(value, RATES_SHOWN, ' '),
  write: (value) => inUnits(value, RATES, ''),
  read: reader(
    {
      ...{ '': 1e6, m: 1e6, mbit: 1e6, 'mbit/s': 1e6, k: 1e3, kbit: 1e3, 'kbit/s': 1e3 },
      ...{ g: 1e9, gbit: 1e9, 'gbit/s': 1e9, bit: 1, 'bit/s': 1 },
    },
    1e12,
  ),
  expected: 'a rate such as 5 Mbit/s, or none',
};

const delay: Knob = {
  name: 'delay',
  places: places(1e5, 5),
  none: 'first',
  noneText: 'none',
  show: (value) => inUnits(value, TIMES_SHOWN, ' '),
  write: (value) => inUnits(value, TIMES, ''),
  read: reader({ '': 1e6, ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9 }, 3600e9),
  expected: 'a time such as 50 ms, or none',
};

const loss: Knob = {
  name: 'loss',
  places: places(1e-5, 5),
  none: 'first',
  noneText: 'none',
  show: (value) => `${tidy(value * 100)} %`,
  write: (value) => `${tidy(value * 100)}%`,
  read: reader({ '': 0.01, '%': 0.01 }, 1),
  expected: 'a share such as 1 %, or none',
};

export const knobs: Readonly<Record<KnobName, Knob>> = { rate, delay, loss };

export const shown = (knob: Knob, value: number | undefined): string =>
  value === undefined ? knob.noneText : knob.show(value);

/** Places of the slider, with that of "none". */
export const slots = (knob: Knob): number => knob.places.length + 1;

/** What the slider says at a place. */
export function valueAt(knob: Knob, slot: number): number | undefined {
  return knob.none === 'first' ? knob.places[slot - 1] : knob.places[slot];
}

/** The place that is nearest to a value on the logarithmic scale. */
export function slotOf(knob: Knob, value: number | undefined): number {
  const first = knob.none === 'first' ? 1 : 0;
  if (value === undefined) return knob.none === 'first' ? 0 : knob.places.length;
  let nearest = 0;
  for (const [i, place] of knob.places.entries()) {
    const [now, best] = [place, knob.places[nearest]!].map((each) => Math.abs(Math.log(each / value)));
    if (now! < best!) nearest = i;
  }
  return nearest + first;
}
