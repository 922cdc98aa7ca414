import {
  type CaptureInterface,
  type CaptureParser,
  type CaptureRecord,
  captureError,
  readU16,
  readU32,
} from './capture.ts';
import { Block, BYTE_ORDER_MAGIC, Option } from './pcapng.ts';

/** No block may be larger; Wireshark's limit too. */
const MAX_BLOCK = 16 * 1024 * 1024;
/** Of one section: a hostile file must not buy an object with 20 bytes for ever. */
const MAX_INTERFACES = 65_536;
const TWO_32 = 0x1_0000_0000;
const decoder = new TextDecoder();

/** How an interface counts time. */
interface Clock {
  /** Ticks per second, as a bigint and, where it is a power of ten up to 10^9, as a number (else 0). */
  ticks: bigint;
  decimal: number;
  /** Seconds to add. */
  offset: number;
}
const MICROSECONDS: Clock = { ticks: 1_000_000n, decimal: 1e6, offset: 0 };

/** Reads one file of sections in either byte order; `CaptureReader` feeds it. */
export class PcapngParser implements CaptureParser {
  interfaces: CaptureInterface[] = [];
  #clocks: Clock[] = [];
  #little = true;
  #seconds = 0;
  #nanoseconds = 0;
  readonly #maxPacket: number;

  constructor(maxPacket: number) {
    this.#maxPacket = maxPacket;
  }

  measure(bytes: Uint8Array, at: number, available: number, position: number): number {
    if (available < 12) return 12;
    // The type of a section header reads the same in both byte orders, and its byte order holds from here on.
    if (readU32(bytes, at, true) === Block.Section) {
      if (readU32(bytes, at + 8, true) === BYTE_ORDER_MAGIC) this.#little = true;
      else if (readU32(bytes, at + 8, false) === BYTE_ORDER_MAGIC) this.#little = false;
      else throw captureError(position + 8, 'a section header without byte-order magic');
    }
    const length = readU32(bytes, at + 4, this.#little);
    if (length < 12 || length % 4 !== 0) throw captureError(position + 4, `a block of ${length} bytes`);
    if (length > MAX_BLOCK)
      throw captureError(position + 4, `a block of ${length} bytes, more than ${MAX_BLOCK}`);
    return length;
  }

  parse(bytes: Uint8Array, at: number, length: number, position: number): CaptureRecord | undefined {
    const trailer = readU32(bytes, at + length - 4, this.#little);
    if (trailer !== length) {
      throw captureError(position + length - 4, `a block of ${length} bytes ends as one of ${trailer}`);
    }
    const body = at + 8;
    const end = at + length - 4;
    const block = { bytes, body, end, position: position + 8 };
    switch (readU32(bytes, at, this.#little)) {
      case Block.Section:
        this.#section(block);
        return undefined;
      case Block.Interface:
        this.#interface(block);
        return undefined;
      case Block.EnhancedPacket:
        return this.#packet(block, readU32At(block, 0, this.#little));
      case Block.Packet:
        need(block, 20);
        return this.#packet(block, readU16(bytes, body, this.#little));
      case Block.SimplePacket:
        return this.#simplePacket(block);
      case Block.InterfaceStatistics:
        this.#statistics(block);
        return undefined;
      default:
        // Name resolution, decryption secrets, custom blocks and those of the future.
        return undefined;
    }
  }

  #section(block: BlockBody): void {
    need(block, 16);
    const major = readU16(block.bytes, block.body + 4, this.#little);
    if (major !== 1) throw captureError(block.position + 4, `pcapng version ${major}, expected 1`);
    this.interfaces = [];
    this.#clocks = [];
  }

  #interface(block: BlockBody): void {
    need(block, 8);
    if (this.interfaces.length >= MAX_INTERFACES) {
      throw captureError(block.position, `more than ${MAX_INTERFACES} interfaces`);
    }
    const found: CaptureInterface = {
      id: this.interfaces.length,
      linkType: readU16(block.bytes, block.body, this.#little),
      name: undefined,
      description: undefined,
      snapLength: readU32(block.bytes, block.body + 4, this.#little),
      received: undefined,
      dropped: undefined,
    };
    let clock = MICROSECONDS;
    this.#options(block, 8, (code, at, length) => {
      if (code === Option.InterfaceName) found.name = text(block.bytes, at, length);
      else if (code === Option.InterfaceDescription) found.description = text(block.bytes, at, length);
      else if (code === Option.InterfaceTimeResolution && length === 1) {
        clock = { ...resolution(block.bytes[at]!), offset: clock.offset };
      } else if (code === Option.InterfaceTimeOffset && length === 8) {
        clock = { ...clock, offset: Number(BigInt.asIntN(64, this.#u64(block.bytes, at))) };
      }
    });
    if (!Number.isSafeInteger(clock.offset))
      throw captureError(block.position, 'if_tsoffset is out of range');
    this.interfaces.push(found);
    this.#clocks.push(clock);
  }

  /** An enhanced packet block, or the packet block before it: both have 20 bytes before the data. */
  #packet(block: BlockBody, id: number): CaptureRecord {
    need(block, 20);
    const { bytes, body } = block;
    const little = this.#little;
    const captured = readU32(bytes, body + 12, little);
    this.#checkCaptured(block, 12, captured, 20);
    const source = this.#interfaceOf(block, id);
    this.#time(block, id, readU32(bytes, body + 4, little), readU32(bytes, body + 8, little));
    const comments: string[] = [];
    let flags = 0;
    this.#options(block, 20 + ((captured + 3) & ~3), (code, at, length) => {
      if (code === Option.Comment) comments.push(text(bytes, at, length));
      else if (code === Option.PacketFlags && length === 4) flags = readU32(bytes, at, little);
    });
    return this.#record(
      source,
      true,
      block,
      20,
      captured,
      readU32(bytes, body + 16, little),
      comments,
      flags,
    );
  }

  #simplePacket(block: BlockBody): CaptureRecord {
    need(block, 4);
    const source = this.#interfaceOf(block, 0);
    const original = readU32(block.bytes, block.body, this.#little);
    const captured = source.snapLength > 0 ? Math.min(original, source.snapLength) : original;
    this.#checkCaptured(block, 0, captured, 4);
    return this.#record(source, false, block, 4, captured, original, [], 0);
  }

  #statistics(block: BlockBody): void {
    need(block, 12);
    const found = this.#interfaceOf(block, readU32(block.bytes, block.body, this.#little));
    this.#options(block, 12, (code, at, length) => {
      if (length !== 8) return;
      if (code === Option.StatisticsReceived) found.received = Number(this.#u64(block.bytes, at));
      else if (code === Option.StatisticsDropped) found.dropped = Number(this.#u64(block.bytes, at));
    });
  }

  #record(
    source: CaptureInterface,
    timed: boolean,
    block: BlockBody,
    start: number,
    captured: number,
    originalLength: number,
    comments: readonly string[],
    flags: number,
  ): CaptureRecord {
    const from = block.body + start;
    return {
      interface: source,
      seconds: this.#seconds,
      nanoseconds: this.#nanoseconds,
      timeNs: 0,
      timed,
      bytes: block.bytes.subarray(from, from + captured),
      originalLength,
      comments,
      flags,
    };
  }

  #interfaceOf(block: BlockBody, id: number): CaptureInterface {
    const found = this.interfaces[id];
    if (!found)
      throw captureError(block.position, `interface ${id}, but ${this.interfaces.length} are declared`);
    return found;
  }

  #checkCaptured(block: BlockBody, field: number, captured: number, start: number): void {
    if (captured > this.#maxPacket) {
      throw captureError(
        block.position + field,
        `a packet of ${captured} bytes, more than ${this.#maxPacket}`,
      );
    }
    if (captured > block.end - block.body - start) {
      throw captureError(block.position + field, `a packet of ${captured} bytes is larger than its block`);
    }
  }

  /** Ticks in two halves to seconds and nanoseconds, exactly; without a bigint for 10^-9 and coarser. */
  #time(block: BlockBody, id: number, high: number, low: number): void {
    const { ticks, decimal, offset } = this.#clocks[id]!;
    let seconds: number;
    if (decimal > 0) {
      // Long division by 16-bit digits: each dividend is below 10^9 * 2^16 + 2^16 < 2^53.
      const first = Math.floor(high / decimal);
      const second = (high - first * decimal) * 65_536 + (low >>> 16);
      const middle = Math.floor(second / decimal);
      const third = (second - middle * decimal) * 65_536 + (low & 0xffff);
      const last = Math.floor(third / decimal);
      seconds = first * TWO_32 + middle * 65_536 + last;
      this.#nanoseconds = (third - last * decimal) * (1e9 / decimal);
    } else {
      const all = BigInt(high) * 0x1_0000_0000n + BigInt(low);
      seconds = Number(all / ticks);
      this.#nanoseconds = Number(((all % ticks) * 1_000_000_000n) / ticks);
    }
    this.#seconds = seconds + offset;
    if (!Number.isSafeInteger(this.#seconds)) throw captureError(block.position + 4, 'a time out of range');
  }

  #u64(bytes: Uint8Array, at: number): bigint {
    const first = BigInt(readU32(bytes, at, this.#little));
    const second = BigInt(readU32(bytes, at + 4, this.#little));
    return this.#little ? first | (second << 32n) : (first << 32n) | second;
  }

  /** Calls `each` with every option from `start` on, all within the block. The end mark may be missing. */
  #options(block: BlockBody, start: number, each: (code: number, at: number, length: number) => void): void {
    const { bytes, body, end } = block;
    let at = body + start;
    while (at + 4 <= end) {
      const code = readU16(bytes, at, this.#little);
      const length = readU16(bytes, at + 2, this.#little);
      if (code === Option.End) return;
      if (at + 4 + length > end) {
        throw captureError(
          block.position + at - body,
          `an option of ${length} bytes is larger than its block`,
        );
      }
      each(code, at + 4, length);
      at += 4 + ((length + 3) & ~3);
    }
  }
}

interface BlockBody {
  bytes: Uint8Array;
  /** First byte after type and length. */
  body: number;
  /** First byte of the length at the end. */
  end: number;
  /** Where `body` is in the file. */
  position: number;
}

function need(block: BlockBody, size: number): void {
  const have = block.end - block.body;
  if (have < size)
    throw captureError(block.position, `a block body of ${have} bytes, expected at least ${size}`);
}

function readU32At(block: BlockBody, offset: number, little: boolean): number {
  need(block, offset + 4);
  return readU32(block.bytes, block.body + offset, little);
}

const text = (bytes: Uint8Array, at: number, length: number) =>
  decoder.decode(bytes.subarray(at, at + length));

/** if_tsresol: 10^-value seconds, or 2^-value with the highest bit set. */
function resolution(value: number): { ticks: bigint; decimal: number } {
  const exponent = value & 0x7f;
  if (value & 0x80) return { ticks: 1n << BigInt(exponent), decimal: 0 };
  return { ticks: 10n ** BigInt(exponent), decimal: exponent <= 9 ? 10 ** exponent : 0 };
}
