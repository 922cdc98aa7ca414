/**
 * What the addon's byte work costs, called from JavaScript: the counterpart of bench/c/native.c, with the same sizes and
 * the same form of result. Nanoseconds per operation; each figure is the median of `REPEATS` timings.
 *
 * - `segment`: one call cuts one superframe into 45 packets in slots of their own, as the engine does before an app
 *   that asked for wire packets: a call, handles, and the bytes. The counterpart writes the bytes into slots of the same
 *   size. Handing the slots back is not timed, nor what a reading of the clock takes.
 * - `checksum`: sixteen stretches of 1500 bytes in one call, as on the data path, where calls are per batch. What a
 *   call for a single one costs is told as `checksumSingle`.
 */

import { Pool } from 'tunconnector/engine';
import type { Native } from '../../dist/native/binding.js';
import { dist } from '../harness/root.ts';

const REPEATS = 301;
const BYTES = 61_612;
const MSS = 1368;
const HEADERS = 52;
/** With 2000 the calls are not all compiled, and a superframe costs 0.1 µs more. */
const WARM_UP = 20_000;
const CHECKSUM_BYTES = 1500;
const STRETCHES = 16;
const CALLS = 64;
const TCP4 = 1;
const L3 = 3;

const { native } = (await import(dist('native/load.js'))) as { native(): Native };
const addon = native();

process.stdout.write(`${JSON.stringify({ segment: segmentation(), ...checksums() })}\n`);

interface Timing {
  ns_median: number;
  ns_min: number;
}

/** Nanoseconds of `work` without those of the clock, divided by `operations`; `after` is not timed. */
function time(operations: number, work: () => void, after: () => void = () => {}): Timing {
  const clock = times(() => {})[REPEATS >> 1]!;
  const all = times(work, after);
  return { ns_median: (all[REPEATS >> 1]! - clock) / operations, ns_min: (all[0]! - clock) / operations };
}

/** Nanoseconds of each run, the shortest first. */
function times(work: () => void, after: () => void = () => {}): number[] {
  const all: number[] = [];
  for (let i = -WARM_UP; i < REPEATS; i++) {
    const start = process.hrtime.bigint();
    work();
    const took = Number(process.hrtime.bigint() - start);
    if (i >= 0) all.push(took);
    after();
  }
  return all.sort((a, b) => a - b);
}

function segmentation(): Timing & { segments: number; bytes: number } {
  const segments = Math.ceil((BYTES - HEADERS) / MSS);
  const pool = new Pool({ smallSlots: segments, largeSlots: 1 });
  const id = addon.poolAttach(pool);
  const frame = pool.copyIn(tcpSuperframe(), L3);
  pool.gsoType[frame] = TCP4;
  pool.segmentSize[frame] = MSS;
  pool.segments[frame] = segments;
  pool.checksumStart[frame] = 20;
  pool.checksumOffset[frame] = 16;
  const timing = time(
    1,
    () => {
      const made = addon.segment(id, frame);
      if (made !== segments) throw new Error(`segment: ${made} instead of ${segments}`);
    },
    () => pool.freeBurst(pool.cut, segments),
  );
  addon.poolDetach(id);
  return { ...timing, segments, bytes: BYTES };
}

/** IPv4 with 20 bytes of header, TCP with 32, a payload that is not all the same. */
function tcpSuperframe(): Uint8Array {
  const bytes = new Uint8Array(BYTES).map((_, i) => i * 31);
  bytes.fill(0, 0, HEADERS);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x45;
  view.setUint16(2, BYTES);
  view.setUint16(6, 0x4000);
  bytes.set([64, 6], 8);
  bytes.set([10, 66, 0, 1, 10, 66, 0, 2], 12);
  view.setUint16(10, ~addon.checksum(bytes, 0, 20, 0) & 0xffff);
  bytes[32] = (32 / 4) << 4;
  bytes[33] = 0x18;
  view.setUint16(36, addon.checksum(bytes, 12, 8, 6 + BYTES - 20));
  return bytes;
}

function checksums(): { checksum: Timing & { bytes: number }; checksumSingle: Timing } {
  const bytes = new Uint8Array(STRETCHES * CHECKSUM_BYTES).map((_, i) => i * 31);
  let sum = 0;
  const calls = (length: number) => () => {
    for (let i = 0; i < CALLS; i++) sum += addon.checksum(bytes, 0, length, 0);
  };
  const many = time(CALLS * STRETCHES, calls(bytes.length));
  const single = time(CALLS, calls(CHECKSUM_BYTES));
  if (sum === 0) throw new Error('checksum: nothing was summed');
  return { checksum: { ...many, bytes: CHECKSUM_BYTES }, checksumSingle: single };
}
