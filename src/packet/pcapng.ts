/**
 * The capture format that holds what a network of apps knows: several interfaces with names, nanoseconds in 64
 * bits, comments on packets. Source: draft-ietf-opsawg-pcapng. The reader is in pcapng-reader.ts.
 */
import { TunconnectorError } from '../errors.ts';
import {
  type CaptureInterfaceOptions,
  type CaptureWriter,
  type CaptureWriterOptions,
  SNAP_LENGTH,
} from './capture.ts';
import { CaptureBuffer } from './capture-buffer.ts';

export const Block = {
  Section: 0x0a0d0d0a,
  Interface: 1,
  Packet: 2,
  SimplePacket: 3,
  InterfaceStatistics: 5,
  EnhancedPacket: 6,
} as const;

export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

export const Option = {
  End: 0,
  Comment: 1,
  SectionHardware: 2,
  SectionSystem: 3,
  SectionApplication: 4,
  InterfaceName: 2,
  InterfaceDescription: 3,
  InterfaceTimeResolution: 9,
  InterfaceTimeOffset: 14,
  PacketFlags: 2,
  StatisticsReceived: 4,
  StatisticsDropped: 5,
} as const;

const NANOSECONDS = 9; // if_tsresol: 10^-9 s
const TWO_32 = 0x1_0000_0000;
const MAX_OPTION = 65_535;
/** Different comments that are kept encoded; drop reasons are a few dozen. */
const CACHED_COMMENTS = 256;
const encoder = new TextEncoder();

export interface PcapngWriterOptions extends CaptureWriterOptions {
  /** The program that writes, e.g. `tunconnector 0.1.0`. */
  application?: string;
  /** On the whole file. */
  comment?: string;
}

export class PcapngWriter implements CaptureWriter {
  readonly #buffer: CaptureBuffer;
  readonly #snapLength: number;
  readonly #epochHigh: number;
  readonly #epochLow: number;
  readonly #comments = new Map<string, Uint8Array>();
  readonly #received: number[] = [];
  readonly #dropped: number[] = [];
  #lastHigh = 0;
  #lastLow = 0;

  /** Writes the section header. */
  constructor(options: PcapngWriterOptions) {
    const { sink, epochNs = 0n, snapLength = SNAP_LENGTH, bufferSize = 65_536 } = options;
    if (epochNs < 0n || epochNs >= 1n << 63n) {
      throw new TunconnectorError('ERR_CAPTURE', `capture: pcapng cannot hold the time ${epochNs} ns`);
    }
    this.#buffer = new CaptureBuffer(sink, bufferSize, options.byteOrder !== 'big');
    this.#snapLength = snapLength;
    this.#epochHigh = Number(epochNs >> 32n);
    this.#epochLow = Number(epochNs & 0xffff_ffffn);

    const comment = encode(options.comment);
    const application = encode(options.application);
    const size = 28 + optionsSize(comment, application);
    const buffer = this.#buffer;
    buffer.reserve(size);
    buffer.u32(Block.Section);
    buffer.u32(size);
    buffer.u32(BYTE_ORDER_MAGIC);
    buffer.u16(1);
    buffer.u16(0);
    // Section length: unknown until the end, and nobody needs it.
    buffer.u64(-1n);
    this.#option(Option.Comment, comment);
    this.#option(Option.SectionApplication, application);
    this.#endOptions(comment, application);
    buffer.u32(size);
  }

  addInterface({ linkType, name, description }: CaptureInterfaceOptions): number {
    if (!Number.isInteger(linkType) || linkType < 0 || linkType > 0xffff) {
      throw new TunconnectorError('ERR_CAPTURE', `capture: link type ${linkType} is not in 0..65535`);
    }
    const encodedName = encode(name);
    const encodedDescription = encode(description);
    const size =
      20 + optionsSize(encodedName, encodedDescription) + 8 + (encodedName || encodedDescription ? 0 : 4);
    const buffer = this.#buffer;
    buffer.reserve(size);
    buffer.u32(Block.Interface);
    buffer.u32(size);
    buffer.u16(linkType);
    buffer.u16(0);
    buffer.u32(this.#snapLength);
    this.#option(Option.InterfaceName, encodedName);
    this.#option(Option.InterfaceDescription, encodedDescription);
    this.#option(Option.InterfaceTimeResolution, Uint8Array.of(NANOSECONDS));
    buffer.u32(Option.End);
    buffer.u32(size);
    this.#dropped.push(0);
    return this.#received.push(0) - 1;
  }

  packet(
    interfaceId: number,
    timeNs: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    originalLength: number,
    comment?: string | readonly string[],
    flags = 0,
  ): void {
    if (!(interfaceId < this.#received.length)) {
      throw new TunconnectorError('ERR_CAPTURE', `capture: there is no interface ${interfaceId}`, {
        remedy: 'declare it with addInterface() first',
      });
    }
    const kept = Math.min(length, this.#snapLength);
    let optional = flags === 0 ? 0 : 8;
    if (typeof comment === 'string') optional += optionSize(this.#encoded(comment));
    else if (comment)
      for (let i = 0; i < comment.length; i++) optional += optionSize(this.#encoded(comment[i]!));
    const size = 32 + ((kept + 3) & ~3) + (optional === 0 ? 0 : optional + 4);

    // epoch + timeNs in two halves: exact, without a bigint.
    const timeHigh = Math.floor(timeNs / TWO_32);
    let low = this.#epochLow + (timeNs - timeHigh * TWO_32);
    let high = this.#epochHigh + timeHigh;
    if (low >= TWO_32) {
      low -= TWO_32;
      high += 1;
    }
    if (high > this.#lastHigh || (high === this.#lastHigh && low > this.#lastLow)) {
      this.#lastHigh = high;
      this.#lastLow = low;
    }

    const buffer = this.#buffer;
    buffer.reserve(size);
    buffer.u32(Block.EnhancedPacket);
    buffer.u32(size);
    buffer.u32(interfaceId);
    buffer.u32(high);
    buffer.u32(low);
    buffer.u32(kept);
    buffer.u32(originalLength);
    buffer.put(bytes, offset, kept, 4);
    if (optional !== 0) {
      if (typeof comment === 'string') this.#option(Option.Comment, this.#encoded(comment));
      else if (comment)
        for (let i = 0; i < comment.length; i++) this.#option(Option.Comment, this.#encoded(comment[i]!));
      if (flags !== 0) {
        buffer.u16(Option.PacketFlags);
        buffer.u16(4);
        buffer.u32(flags);
      }
      buffer.u32(Option.End);
    }
    buffer.u32(size);
    this.#received[interfaceId] = this.#received[interfaceId]! + 1;
  }

  /** Counts packets of an interface that the capture missed; they stand in the statistics at the end. */
  addDropped(interfaceId: number, count: number): void {
    this.#dropped[interfaceId] = this.#dropped[interfaceId]! + count;
  }

  flush(): void {
    this.#buffer.flush();
  }

  /** Writes the statistics of each interface, received (written and missed) and dropped, at the last packet's time. */
  end(): void {
    if (this.#buffer.ended) return;
    const buffer = this.#buffer;
    const [high, low] =
      this.#lastHigh || this.#lastLow ? [this.#lastHigh, this.#lastLow] : [this.#epochHigh, this.#epochLow];
    for (let id = 0; id < this.#received.length; id++) {
      const size = 24 + 12 + 12 + 4;
      buffer.reserve(size);
      buffer.u32(Block.InterfaceStatistics);
      buffer.u32(size);
      buffer.u32(id);
      buffer.u32(high);
      buffer.u32(low);
      buffer.u16(Option.StatisticsReceived);
      buffer.u16(8);
      buffer.u64(BigInt(this.#received[id]! + this.#dropped[id]!));
      buffer.u16(Option.StatisticsDropped);
      buffer.u16(8);
      buffer.u64(BigInt(this.#dropped[id]!));
      buffer.u32(Option.End);
      buffer.u32(size);
    }
    buffer.end();
  }

  /** The same few comments come again and again: each is encoded once. */
  #encoded(comment: string): Uint8Array {
    const known = this.#comments.get(comment);
    if (known) return known;
    if (this.#comments.size >= CACHED_COMMENTS) this.#comments.clear();
    const encoded = encode(comment)!;
    this.#comments.set(comment, encoded);
    return encoded;
  }

  #option(code: number, value: Uint8Array | undefined): void {
    if (!value) return;
    this.#buffer.u16(code);
    this.#buffer.u16(value.length);
    this.#buffer.put(value, 0, value.length, 4);
  }

  #endOptions(...values: (Uint8Array | undefined)[]): void {
    if (values.some((value) => value)) this.#buffer.u32(Option.End);
  }
}

const optionSize = (value: Uint8Array) => 4 + ((value.length + 3) & ~3);

/** Bytes of a list of options with its end; 0 when there are none. */
function optionsSize(...values: (Uint8Array | undefined)[]): number {
  const present = values.filter((value) => value !== undefined);
  return present.reduce((sum, value) => sum + optionSize(value), 0) + (present.length > 0 ? 4 : 0);
}

/** UTF-8, cut to what an option can hold at the boundary of a character. */
function encode(text: string | undefined): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const bytes = encoder.encode(text);
  if (bytes.length <= MAX_OPTION) return bytes;
  let end = MAX_OPTION;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.slice(0, end);
}
