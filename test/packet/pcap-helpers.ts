import type { CaptureRecord } from '../../src/packet/capture.ts';
import { CaptureReader, type CaptureReaderOptions } from '../../src/packet/capture-reader.ts';

export function join(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A sink that keeps copies, for the views it gets are valid during the call only. */
export function collect(): { sink: (bytes: Uint8Array) => void; bytes: () => Uint8Array } {
  const parts: Uint8Array[] = [];
  return { sink: (bytes) => parts.push(bytes.slice()), bytes: () => join(parts) };
}

export function readAll(file: Uint8Array, options?: CaptureReaderOptions): CaptureRecord[] {
  const reader = new CaptureReader(options);
  const records = reader.push(file);
  reader.end();
  return records;
}

/** Little- or big-endian fields for hand-made files. */
export function fields(little: boolean) {
  const number = (size: 2 | 4 | 8, value: number | bigint) => {
    const view = new DataView(new ArrayBuffer(size));
    if (size === 2) view.setUint16(0, Number(value), little);
    else if (size === 4) view.setUint32(0, Number(value), little);
    else view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), little);
    return new Uint8Array(view.buffer);
  };
  const u16 = (value: number) => number(2, value);
  const u32 = (value: number) => number(4, value);
  const u64 = (value: bigint) => number(8, value);
  const padded = (bytes: Uint8Array) => join([bytes, new Uint8Array((4 - (bytes.length % 4)) % 4)]);
  const option = (code: number, value: Uint8Array) => join([u16(code), u16(value.length), padded(value)]);
  const block = (type: number, ...body: Uint8Array[]) => {
    const inner = join(body);
    return join([u32(type), u32(inner.length + 12), inner, u32(inner.length + 12)]);
  };
  const section = () => block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(1), u16(0), u64(-1n));
  return { u16, u32, u64, padded, option, block, section };
}
