/**
 * Fragmentation of IPv4 (RFC 791, 2.3 and 3.2): how many fragments a packet makes, and each of them by number, in
 * any order, without allocating.
 */
import * as ipv4 from './ipv4.ts';
import { Problem } from './problem.ts';
import { copyBytes, get16, put16 } from './word.ts';

/** `fragmentCount`: the packet is too long and has DF set; its sender must be told (`tooBig`). */
export const NEEDS_FRAGMENTATION = -1;
/** `fragmentCount`: the packet is malformed, or the MTU has no room for 8 bytes behind its header. */
export const CANNOT_FRAGMENT = -2;

/** Bit of an option's type: it goes into every fragment (RFC 791, 3.1). */
const COPY = 0x80;

/** Bytes of the header that fragments after the first have: the options with the copy bit, padded to four. */
function laterHeader(bytes: Uint8Array, at: number): number {
  const end = at + ipv4.headerLength(bytes, at);
  let length = ipv4.HEADER;
  for (let option = at + ipv4.OPTIONS; option < end; ) {
    const next = ipv4.nextOption(bytes, option, end);
    if (next < 0) break;
    if ((bytes[option] & COPY) !== 0) length += next - option;
    option = next;
  }
  return (length + 3) & ~3;
}

/**
 * How many fragments of at most `mtu` bytes the packet at `bytes[at..end)` makes: 1 when it fits as it is, else at
 * least 2, or NEEDS_FRAGMENTATION or CANNOT_FRAGMENT.
 */
export function fragmentCount(bytes: Uint8Array, at: number, end: number, mtu: number): number {
  if (ipv4.check(bytes, at, end) !== Problem.None) return CANNOT_FRAGMENT;
  if (ipv4.totalLength(bytes, at) <= mtu) return 1;
  if (ipv4.dontFragment(bytes, at)) return NEEDS_FRAGMENTATION;
  const first = (mtu - ipv4.headerLength(bytes, at)) & ~7;
  const later = (mtu - laterHeader(bytes, at)) & ~7;
  if (first < 8 || ipv4.checkOptions(bytes, at) !== Problem.None) return CANNOT_FRAGMENT;
  return 1 + Math.ceil((ipv4.payloadLength(bytes, at) - first) / later);
}

/**
 * Writes fragment `index` (0 to `fragmentCount` - 1, for a count of 2 or more) at `into[intoAt]`, which has room for
 * `mtu` bytes away from the packet, and returns its length.
 */
export function emitFragment(
  bytes: Uint8Array,
  at: number,
  end: number,
  mtu: number,
  index: number,
  into: Uint8Array,
  intoAt: number,
): number {
  const whole = ipv4.headerLength(bytes, at);
  const later = laterHeader(bytes, at);
  const firstData = (mtu - whole) & ~7;
  const laterData = (mtu - later) & ~7;
  const payload = Math.min(ipv4.packetEnd(bytes, at), end) - at - whole;

  const header = index === 0 ? whole : later;
  const start = index === 0 ? 0 : firstData + (index - 1) * laterData;
  const data = Math.min(index === 0 ? firstData : laterData, payload - start);
  copyBytes(bytes, at, into, intoAt, index === 0 ? whole : ipv4.HEADER);
  if (index > 0) copyOptions(bytes, at, into, intoAt, later);
  copyBytes(bytes, at + whole + start, into, intoAt + header, data);

  into[intoAt] = 0x40 | (header >> 2);
  put16(into, intoAt + ipv4.TOTAL_LENGTH, header + data);
  // A fragment may be fragmented again: its own offset counts on, and its last piece has more to come if it had.
  const field = get16(bytes, at + ipv4.FRAGMENT) + (start >> 3);
  put16(into, intoAt + ipv4.FRAGMENT, start + data < payload ? field | ipv4.MORE_FRAGMENTS : field);
  ipv4.fillChecksum(into, intoAt);
  return header + data;
}

function copyOptions(bytes: Uint8Array, at: number, into: Uint8Array, intoAt: number, header: number): void {
  const end = at + ipv4.headerLength(bytes, at);
  let to = intoAt + ipv4.OPTIONS;
  for (let option = at + ipv4.OPTIONS; option < end; ) {
    const next = ipv4.nextOption(bytes, option, end);
    if (next < 0) break;
    if ((bytes[option] & COPY) !== 0) {
      copyBytes(bytes, option, into, to, next - option);
      to += next - option;
    }
    option = next;
  }
  while (to < intoAt + header) into[to++] = ipv4.Option.End;
}
