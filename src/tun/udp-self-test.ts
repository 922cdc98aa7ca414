/**
 * Whether this kernel's UDP offloads can be trusted. Some kernels had faults in them that corrupt what they carry
 * (wrong lengths and checksums of segments, a short last one lost), distributions carry fixes back and forth, and a
 * version says little. So it is tried: superframes go over loopback, and what arrives must be what was sent, byte
 * for byte and datagram for datagram. It takes 3 ms, half of them for the 12 sockets with UDP_GRO (Linux patches its
 * code for the first and the last), once per thread that opens a UDP port.
 */
import { constants } from 'node:os';
import type { Native } from '../native/binding.ts';
import { native } from '../native/load.ts';

/**
 * `absent`: this kernel has no such offload. `untested`: nothing can be learned here, for instance because loopback is
 * down; such an offload is used, and given up by its error code where it has one.
 */
export type Verdict = 'passed' | 'failed' | 'absent' | 'untested';

export interface UdpVerdicts {
  /** UDP_SEGMENT. */
  gso: Verdict;
  /** UDP_GRO. */
  gro: Verdict;
}

export type UdpLoop = Native['udpLoop'];

/** Length of the whole and of a segment: equal ones, odd ones, a last one of 1 byte, the largest number, the largest size. */
const SUPERFRAMES: readonly [length: number, segment: number][] = [
  [4 * 1368, 1368],
  [3 * 1368 + 1, 1368],
  [7 * 333 + 2, 333],
  [3, 1],
  [64 * 64, 64],
  [44 * 1368 + 1367, 1368],
];
const PLAIN = 1200;
const { ENOPROTOOPT, EOPNOTSUPP, EINVAL } = constants.errno;

/** Tries the offloads of the kernel behind `loop`. */
export function testUdpOffloads(loop: UdpLoop = native().udpLoop): UdpVerdicts {
  const verdicts: UdpVerdicts = { gso: 'untested', gro: 'untested' };
  const bytes = pattern();
  for (const family of [4, 6] as const) {
    // Without this a firewall, or loopback that is down, would look like a fault.
    if (trip(loop, family, bytes.subarray(0, PLAIN), 0, false) !== 'passed') continue;
    for (const [length, segment] of SUPERFRAMES) {
      const payload = bytes.subarray(0, length);
      const sent = trip(loop, family, payload, segment, false);
      verdicts.gso = worse(verdicts.gso, sent);
      // What was not sent well tells nothing about receiving.
      if (sent === 'passed') verdicts.gro = worse(verdicts.gro, trip(loop, family, payload, segment, true));
      if (verdicts.gso === 'failed') return verdicts;
    }
  }
  return verdicts;
}

let known: UdpVerdicts | undefined;

/** The verdicts on this machine's kernel, tried at most once per thread where they can be had. */
export function udpOffloads(): UdpVerdicts {
  const found = known ?? testUdpOffloads();
  // Loopback may come up later.
  if (found.gso !== 'untested') known = found;
  return found;
}

/** What of the wanted offloads to ask the kernel for, and a word for the report. */
export function trusted(wanted: { gso: boolean; gro: boolean }): {
  gso: boolean;
  gro: boolean;
  selfTest: string;
} {
  if (!wanted.gso && !wanted.gro) return { gso: false, gro: false, selfTest: 'not needed' };
  const verdicts = udpOffloads();
  const failed = (['gso', 'gro'] as const).filter((each) => wanted[each] && verdicts[each] === 'failed');
  return {
    gso: wanted.gso && verdicts.gso !== 'failed',
    gro: wanted.gro && verdicts.gro !== 'failed',
    selfTest: failed.length > 0 ? `${failed.join(' and ')} failed` : verdicts.gso,
  };
}

function worse(a: Verdict, b: Verdict): Verdict {
  const order: readonly Verdict[] = ['untested', 'passed', 'absent', 'failed'];
  return order[Math.max(order.indexOf(a), order.indexOf(b))]!;
}

/** Bytes in which no stretch is like another. Made by words: byte by byte it takes longer than all the trips. */
function pattern(): Uint8Array {
  const words = new Int32Array(Math.ceil(Math.max(...SUPERFRAMES.map(([length]) => length)) / 4));
  let state = 0x2545f491;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

function trip(loop: UdpLoop, family: 4 | 6, payload: Uint8Array, segment: number, gro: boolean): Verdict {
  const { length } = payload;
  // Room for more than was sent, which would be a fault as well.
  const received = new Uint8Array(length + 64);
  const wanted = Math.ceil(length / (segment || length));
  const sizes = new Int32Array(wanted + 1);
  const n = loop(family, payload, segment, gro, received, sizes);
  if (n < 0) return n === -ENOPROTOOPT || n === -EOPNOTSUPP || n === -EINVAL ? 'absent' : 'untested';
  // Before Linux 4.18 the segment size is not heard, and all goes as one datagram.
  if (n === 1 && wanted > 1 && sizes[0] === length) return 'absent';
  if (n !== wanted) return 'failed';
  for (let i = 0; i < n; i++) {
    if (sizes[i] !== Math.min(segment || length, length - i * segment)) return 'failed';
  }
  return Buffer.compare(payload, received.subarray(0, length)) === 0 ? 'passed' : 'failed';
}
