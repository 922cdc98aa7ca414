/**
 * The classic capture format: a 24-byte header, then packets behind 16-byte headers. One link type per file,
 * 32-bit seconds (up to 2106), no names and no comments. Source: draft-ietf-opsawg-pcap.
 */
import { TunconnectorError } from '../errors.ts';
import {
  type CaptureInterface,
  type CaptureInterfaceOptions,
  type CaptureParser,
  type CaptureRecord,
  type CaptureWriter,
  type CaptureWriterOptions,
  captureError,
  readU16,
  readU32,
  SNAP_LENGTH,
} from './capture.ts';
import { CaptureBuffer } from './capture-buffer.ts';

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER = 24;
const RECORD_HEADER = 16;

/** What the first four bytes of a file say, or undefined when it is not a classic capture. */
export function pcapMagic(
  bytes: Uint8Array,
  at: number,
): { little: boolean; nanoseconds: boolean } | undefined {
  for (const little of [true, false]) {
    const magic = readU32(bytes, at, little);
    if (magic === MAGIC_NANOSECONDS) return { little, nanoseconds: true };
    if (magic === MAGIC_MICROSECONDS) return { little, nanoseconds: false };
  }
  return undefined;
}

export interface PcapWriterOptions extends CaptureWriterOptions {
  /** A `LinkType`; every interface has it. */
  linkType: number;
  /** Time in the file. Default nanoseconds; microseconds for very old readers, rounded down. */
  precision?: 'nanoseconds' | 'microseconds';
}

export class PcapWriter implements CaptureWriter {
  readonly #buffer: CaptureBuffer;
  readonly #linkType: number;
  readonly #snapLength: number;
  readonly #unit: number;
  readonly #epochSeconds: number;
  readonly #epochNanoseconds: number;
  #interfaces = 0;

  /** Writes the file's header. */
  constructor(options: PcapWriterOptions) {
    const { sink, linkType, epochNs = 0n, snapLength = SNAP_LENGTH, bufferSize = 65_536 } = options;
    const nanoseconds = options.precision !== 'microseconds';
    this.#buffer = new CaptureBuffer(sink, bufferSize, options.byteOrder !== 'big');
    this.#linkType = linkType;
    this.#snapLength = snapLength;
    this.#unit = nanoseconds ? 1 : 1000;
    this.#epochSeconds = Number(epochNs / 1_000_000_000n);
    this.#epochNanoseconds = Number(epochNs % 1_000_000_000n);
    if (epochNs < 0n || this.#epochSeconds > 0xffff_ffff) {
      throw new TunconnectorError('ERR_CAPTURE', `capture: pcap cannot hold the time ${epochNs} ns`, {
        remedy: 'write pcapng',
      });
    }
    const buffer = this.#buffer;
    buffer.reserve(FILE_HEADER);
    buffer.u32(nanoseconds ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS);
    buffer.u16(2);
    buffer.u16(4);
    buffer.u32(0);
    buffer.u32(0);
    buffer.u32(snapLength);
    buffer.u32(linkType);
  }

  addInterface({ linkType }: CaptureInterfaceOptions): number {
    if (linkType !== this.#linkType) {
      const what = `capture: a pcap file has one link type, ${this.#linkType}, and this interface has ${linkType}`;
      throw new TunconnectorError('ERR_CAPTURE', what, { remedy: 'write pcapng' });
    }
    return this.#interfaces++;
  }

  packet(
    _interfaceId: number,
    timeNs: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    originalLength: number,
  ): void {
    const kept = Math.min(length, this.#snapLength);
    let seconds = Math.floor(timeNs / 1e9);
    let nanoseconds = timeNs - seconds * 1e9 + this.#epochNanoseconds;
    // The quotient of a large number may have been rounded up to the next second.
    if (nanoseconds < 0) {
      seconds -= 1;
      nanoseconds += 1e9;
    } else if (nanoseconds >= 1e9) {
      seconds += 1;
      nanoseconds -= 1e9;
    }
    const buffer = this.#buffer;
    buffer.reserve(RECORD_HEADER + kept);
    buffer.u32(this.#epochSeconds + seconds);
    buffer.u32(Math.floor(nanoseconds / this.#unit));
    buffer.u32(kept);
    buffer.u32(originalLength);
    buffer.put(bytes, offset, kept, 1);
  }

  flush(): void {
    this.#buffer.flush();
  }

  end(): void {
    this.#buffer.end();
  }
}

/** Reads one classic file; `CaptureReader` feeds it. */
export class PcapParser implements CaptureParser {
  readonly interfaces: CaptureInterface[] = [];
  readonly #maxPacket: number;
  readonly #little: boolean;
  readonly #scale: number;

  constructor(magic: { little: boolean; nanoseconds: boolean }, maxPacket: number) {
    this.#maxPacket = maxPacket;
    this.#little = magic.little;
    this.#scale = magic.nanoseconds ? 1 : 1000;
  }

  measure(bytes: Uint8Array, at: number, available: number, position: number): number {
    if (this.interfaces.length === 0) return FILE_HEADER;
    if (available < RECORD_HEADER) return RECORD_HEADER;
    const captured = readU32(bytes, at + 8, this.#little);
    if (captured > this.#maxPacket) {
      throw captureError(position + 8, `a packet of ${captured} bytes, more than ${this.#maxPacket}`);
    }
    return RECORD_HEADER + captured;
  }

  parse(bytes: Uint8Array, at: number, length: number, position: number): CaptureRecord | undefined {
    const little = this.#little;
    if (this.interfaces.length === 0) {
      this.#header(bytes, at, position);
      return undefined;
    }
    const fraction = readU32(bytes, at + 4, little) * this.#scale;
    const carried = Math.floor(fraction / 1e9);
    return {
      interface: this.interfaces[0]!,
      seconds: readU32(bytes, at, little) + carried,
      nanoseconds: fraction - carried * 1e9,
      timeNs: 0,
      timed: true,
      bytes: bytes.subarray(at + RECORD_HEADER, at + length),
      originalLength: readU32(bytes, at + 12, little),
      comments: [],
      flags: 0,
    };
  }

  #header(bytes: Uint8Array, at: number, position: number): void {
    const little = this.#little;
    const version = `${readU16(bytes, at + 4, little)}.${readU16(bytes, at + 6, little)}`;
    if (version !== '2.4') throw captureError(position + 4, `pcap version ${version}, expected 2.4`);
    this.interfaces.push({
      id: 0,
      // The upper bits tell the length of a frame check sequence.
      linkType: readU32(bytes, at + 20, little) & 0xffff,
      name: undefined,
      description: undefined,
      snapLength: readU32(bytes, at + 16, little),
      received: undefined,
      dropped: undefined,
    });
  }
}
