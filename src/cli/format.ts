/** Numbers as people read them. */

/** `1234567` is `1 234 567`. */
export function grouped(n: number): string {
  return Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ' ');
}

function scaled(value: number, units: readonly string[]): string {
  let rest = value;
  let unit = 0;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  const digits = unit === 0 || rest >= 99.95 ? 0 : 1;
  return `${rest.toFixed(digits)} ${units[unit]}`;
}

export const formatBytes = (bytes: number): string => scaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB']);
export const formatBitRate = (rate: number): string =>
  scaled(rate, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);
export const formatPacketRate = (rate: number): string => scaled(rate, ['pkt/s', 'kpkt/s', 'Mpkt/s']);

/** Nanoseconds as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`. */
export function formatDuration(ns: number): string {
  const seconds = ns / 1e9;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** What an app has to tell when it is set up: what is switched on, and figures that are not zero. */
export function described(report: Record<string, number | string | boolean>): string {
  const parts = Object.entries(report)
    .filter(([, value]) => value !== 0 && value !== '')
    .map(([key, value]) => (typeof value === 'boolean' ? `${value ? '' : 'no '}${key}` : `${key} ${value}`));
  return parts.join(', ') || 'ready';
}
