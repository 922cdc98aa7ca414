/** Figures as people read them. */
import type { Quantity } from './result.ts';

const SCALES: Record<Quantity, { unit: string; divisor: number; digits: number }> = {
  throughput: { unit: 'Gbit/s', divisor: 1e9, digits: 2 },
  cpuPerGB: { unit: 's/GB', divisor: 1, digits: 2 },
  packetRate: { unit: 'kpps', divisor: 1e3, digits: 0 },
  handOverRate: { unit: 'Mpps', divisor: 1e6, digits: 1 },
  cpuPerPacket: { unit: 'µs/packet', divisor: 1e3, digits: 2 },
  lost: { unit: '% lost', divisor: 0.01, digits: 1 },
  rttMean: { unit: 'µs RTT', divisor: 1e3, digits: 0 },
  rttMedian: { unit: 'µs RTT, p50', divisor: 1e3, digits: 0 },
  rttP99: { unit: 'µs RTT, p99', divisor: 1e3, digits: 0 },
  lateMedian: { unit: 'µs late, p50', divisor: 1e3, digits: 0 },
  lateP99: { unit: 'µs late, p99', divisor: 1e3, digits: 0 },
  early: { unit: 'packets early', divisor: 1, digits: 0 },
  rateError100ms: { unit: '% off in 100 ms', divisor: 0.01, digits: 2 },
  rateError1s: { unit: '% off in 1 s', divisor: 0.01, digits: 2 },
  time: { unit: 'ns', divisor: 1, digits: 1 },
  missed: { unit: 'packets missed', divisor: 1, digits: 0 },
  hopMedian: { unit: 'µs per function, p50', divisor: 1e3, digits: 1 },
  hopP99: { unit: 'µs per function, p99', divisor: 1e3, digits: 1 },
  linearity: { unit: 'R²', divisor: 1, digits: 3 },
  oneWayMedian: { unit: 'µs, p50', divisor: 1e3, digits: 0 },
  oneWayP99: { unit: 'µs, p99', divisor: 1e3, digits: 0 },
  reordered: { unit: 'packets reordered', divisor: 1, digits: 0 },
  outageMedian: { unit: 'ms outage, p50', divisor: 1e6, digits: 1 },
  outageP99: { unit: 'ms outage, p99', divisor: 1e6, digits: 1 },
  collateral: { unit: 'packets of others', divisor: 1, digits: 0 },
  missing: { unit: 'packets lost', divisor: 1, digits: 0 },
  gone: { unit: 'ms until it is gone', divisor: 1e6, digits: 1 },
  flowsHit: { unit: 'flows hit', divisor: 1, digits: 0 },
  switched: { unit: 'ms to the new path', divisor: 1e6, digits: 1 },
  settled: { unit: 'ms to the last on the old', divisor: 1e6, digits: 1 },
  mixed: { unit: 'packets on both', divisor: 1, digits: 0 },
  memoryPerFlow: { unit: 'B of memory per flow', divisor: 1, digits: 0 },
  cpuPerSuperframe: { unit: 'µs per superframe', divisor: 1e3, digits: 1 },
  collections: { unit: 'collections', divisor: 1, digits: 0 },
  eventRate: { unit: 'kevents/s', divisor: 1e3, digits: 1 },
  memoryPerHost: { unit: 'kB per host', divisor: 1e3, digits: 0 },
  startPerHost: { unit: 'ms to start a host', divisor: 1e6, digits: 1 },
  simulatedMinute: { unit: 's for a minute of TCP', divisor: 1e9, digits: 2 },
  simulatedHour: { unit: 's for an hour of pings', divisor: 1e9, digits: 2 },
  stepBack: { unit: 's to step back', divisor: 1e9, digits: 2 },
};

export const unitOf = (quantity: Quantity) => SCALES[quantity].unit;

export function formatFigure(value: number, quantity: Quantity): string {
  if (!Number.isFinite(value)) return '-';
  const { divisor, digits } = SCALES[quantity];
  const scaled = value / divisor;
  // A small figure keeps what makes it a figure.
  return scaled.toFixed(scaled !== 0 && Math.abs(scaled) < 1 && digits < 2 ? 2 : digits);
}

export const formatRatio = (ratio: number) =>
  Number.isFinite(ratio) ? ratio.toFixed(ratio >= 100 ? 0 : ratio >= 10 ? 1 : 2) : '';

/** `1:05`, or `1:02:05` from an hour on. */
export function formatClock(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}
