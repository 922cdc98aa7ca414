/** Datagrams that bench/c/oneway.c has sent and seen arrive, and what their times say of the link between. */
import { percentile } from './stats.ts';

/** In the order in which they arrived. Times in ns since the first was sent. */
export interface Arrivals {
  /** Number of each, from 0. */
  numbers: Float64Array;
  left: Float64Array;
  arrived: Float64Array;
  /** UDP payload of each. */
  bytes: Float64Array;
  /** DSCP of each, as it arrived. */
  dscp: Uint8Array;
  /** When the first was sent: ms since 1970. */
  epoch: number;
}

const RECORD = 32;

/** @throws Error when there are none: nothing can be said of them */
export function parseArrivals(bytes: Uint8Array): Arrivals {
  const count = Math.floor(bytes.length / RECORD);
  if (count === 0) throw new Error('oneway: no packet arrived');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const column = (place: number, base = 0n) =>
    Float64Array.from({ length: count }, (_, i) =>
      Number(view.getBigUint64(i * RECORD + place * 8, true) - base),
    );
  let first = view.getBigUint64(8, true);
  for (let i = 1; i < count; i++) {
    const left = view.getBigUint64(i * RECORD + 8, true);
    if (left < first) first = left;
  }
  const words = (place: number) =>
    Float64Array.from({ length: count }, (_, i) => view.getUint32(i * RECORD + place, true));
  return {
    numbers: column(0),
    left: column(1, first),
    arrived: column(2, first),
    bytes: words(24),
    dscp: Uint8Array.from(words(28), (tos) => tos >> 2),
    epoch: Number(first) / 1e6,
  };
}

/** How long after `delay` (ns) they arrived; less than 0 is early. */
export function latenessOf({ left, arrived }: Arrivals, delay: number) {
  const late = arrived.map((at, i) => at - left[i]! - delay);
  const values = Array.from(late);
  return {
    median: percentile(values, 0.5),
    p99: percentile(values, 0.99),
    early: values.filter((each) => each < 0).length,
  };
}

/**
 * The farthest that what arrived in any stretch of at least `window` ns strays from `rate` (bit/s), but for one packet:
 * a part of what should have arrived in it.
 * @param overhead bytes on the wire of each packet besides its UDP payload
 * @param after ns: what arrived before does not count
 */
export function rateError(
  { arrived, bytes }: Arrivals,
  { rate, window, overhead, after }: { rate: number; window: number; overhead: number; after: number },
): number {
  let worst = Number.NaN;
  let first = arrived.findIndex((at) => at >= after);
  if (first < 0) return worst;
  // Bits that arrived after the first, up to and with `last`.
  let bits = 0;
  for (let last = first + 1; last < arrived.length; last++) {
    const packet = (bytes[last]! + overhead) * 8;
    bits += packet;
    // The shortest stretch that ends here and is long enough.
    while (first + 1 < last && arrived[last]! - arrived[first + 1]! >= window) {
      first++;
      bits -= (bytes[first]! + overhead) * 8;
    }
    const time = arrived[last]! - arrived[first]!;
    if (time < window) continue;
    const due = (rate * time) / 1e9;
    const error = Math.max(0, Math.abs(bits - due) - packet) / due;
    if (!(error <= worst)) worst = error;
  }
  return worst;
}
