/**
 * The log and the snapshot are files of frames. One frame is what one sync made durable:
 *
 *     0   4  ff 54 43 4c: a byte that no UTF-8 text has, then "TCL"
 *     4   4  length of the text in bytes, big-endian
 *     8   4  CRC-32 (IEEE 802.3) of the length's four bytes and the text
 *     12     UTF-8: JSON
 *
 * A frame is written only after the one before it was synced. So a bad frame with a good one behind it was spoilt after it
 * had been durable; a bad one at the end is what a crash leaves of a write that nobody was told had happened. The magic number
 * cannot occur in a text, which makes the search for a good one sure.
 */
import { crc32 } from 'node:zlib';

const MAGIC = Uint8Array.of(0xff, 0x54, 0x43, 0x4c);
const HEADER = 12;

export function encodeFrame(value: unknown): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(value));
  const frame = new Uint8Array(HEADER + text.length);
  frame.set(MAGIC);
  const view = new DataView(frame.buffer);
  view.setUint32(4, text.length);
  frame.set(text, HEADER);
  view.setUint32(8, checksum(frame, 0, text.length));
  return frame;
}

const checksum = (bytes: Uint8Array, at: number, length: number): number =>
  crc32(bytes.subarray(at + HEADER, at + HEADER + length), crc32(bytes.subarray(at + 4, at + 8)));

/** Offset behind the frame that starts at `at`, or -1 when there is no whole, good one. */
function frameEnd(bytes: Uint8Array, at: number): number {
  if (at + HEADER > bytes.length || MAGIC.some((byte, i) => bytes[at + i] !== byte)) return -1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(4 + at);
  if (length > bytes.length - at - HEADER) return -1;
  return view.getUint32(8 + at) === checksum(bytes, at, length) ? at + HEADER + length : -1;
}

export interface Frames {
  values: unknown[];
  /** Bytes of whole, good frames from the start of the file. */
  length: number;
  /** Whether a good frame follows after what is not one: durable bytes were spoilt. */
  spoilt: boolean;
}

export function decodeFrames(bytes: Uint8Array): Frames {
  const values: unknown[] = [];
  const decoder = new TextDecoder();
  let at = 0;
  for (let end = frameEnd(bytes, at); end >= 0; end = frameEnd(bytes, at)) {
    values.push(JSON.parse(decoder.decode(bytes.subarray(at + HEADER, end))));
    at = end;
  }
  let next = bytes.indexOf(MAGIC[0], at + 1);
  while (next >= 0 && frameEnd(bytes, next) < 0) next = bytes.indexOf(MAGIC[0], next + 1);
  return { values, length: at, spoilt: next >= 0 };
}

export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
