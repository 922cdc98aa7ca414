/** Numbers as people read them. */

function scaled(value: number, units: readonly string[], digits = short): string {
  let rest = value;
  let unit = 0;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${digits(rest)} ${units[unit]}`;
}

/** Three digits, and no more than are there. */
const short = (value: number): string =>
  value >= 99.95 || value === 0 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);

export const bitRate = (rate: number): string =>
  scaled(rate, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);
export const bytes = (count: number): string => scaled(count, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);

/** `12 345 678` up to a million, then `12.3 M`. */
export const counted = (count: number): string =>
  count < 1e6
    ? Math.round(count)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, ' ')
    : scaled(count, ['', 'k', 'M', 'G', 'T']);

/** Of nanoseconds. */
export function time(ns: number): string {
  if (ns >= 60e9) return `${Math.floor(ns / 60e9)} min ${Math.round((ns % 60e9) / 1e9)} s`;
  return scaled(ns, ['ns', 'µs', 'ms', 's']);
}

/** At an axis: no more digits than tell one tick from the next. */
export const tick = (value: number, units: readonly string[]): string =>
  scaled(value, units, (rest) => `${Number(rest.toPrecision(3))}`);

/** Of a share, 0..1. */
export const percent = (share: number): string =>
  `${share > 0 && share < 0.1 ? (share * 100).toFixed(2) : short(share * 100)} %`;

/** The time of day of ms since 1970. */
export function clock(ms: number): string {
  const date = new Date(ms);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()];
  return parts.map((part) => `${part}`.padStart(2, '0')).join(':');
}

/** A match of flows on one line. */
export function matchText(match: unknown): string {
  if (typeof match === 'string') return match;
  if (typeof match !== 'object' || match === null) return '';
  return Object.entries(match)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ');
}
