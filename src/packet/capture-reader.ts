import {
  type CaptureInterface,
  type CaptureParser,
  type CaptureRecord,
  captureError,
  readU32,
  SNAP_LENGTH,
} from './capture.ts';
import { PcapParser, pcapMagic } from './pcap.ts';
import { Block } from './pcapng.ts';
import { PcapngParser } from './pcapng-reader.ts';

const NOTHING = new Uint8Array(0);

export interface CaptureReaderOptions {
  /** Nanoseconds from 1970 to the zero of `timeNs`. Default: the time of the first packet. */
  epochNs?: bigint;
  /** Bytes of a packet that are believed. Default `SNAP_LENGTH`. */
  maxPacket?: number;
  /** Take a file that ends in the middle of a packet, as a killed capture leaves it, for whole. Default false. */
  truncated?: boolean;
}

/**
 * Reads pcap and pcapng, told apart by their first bytes, from chunks of any size. Holds at most one incomplete
 * block (16 MiB), and grows only by what has arrived. What cannot be read is an `ERR_CAPTURE` that names the
 * offset in the file.
 */
export class CaptureReader {
  #parser: CaptureParser | undefined;
  #pending = NOTHING;
  #held = 0;
  #position = 0;
  #epochNs: bigint | undefined;
  #epochSeconds = 0;
  #epochNanoseconds = 0;
  #failure: unknown;
  readonly #maxPacket: number;
  readonly #truncated: boolean;

  constructor(options: CaptureReaderOptions = {}) {
    this.#maxPacket = options.maxPacket ?? SNAP_LENGTH;
    this.#truncated = options.truncated ?? false;
    if (options.epochNs !== undefined) this.#setEpoch(options.epochNs);
  }

  /** The zero of `timeNs`; undefined until a packet with a time has come. */
  get epochNs(): bigint | undefined {
    return this.#epochNs;
  }

  /** `pcap`, `pcapng`, or undefined before the first four bytes. */
  get format(): 'pcap' | 'pcapng' | undefined {
    if (!this.#parser) return undefined;
    return this.#parser instanceof PcapParser ? 'pcap' : 'pcapng';
  }

  /** Interfaces of the section that is being read. */
  get interfaces(): readonly CaptureInterface[] {
    return this.#parser?.interfaces ?? [];
  }

  /**
   * Takes the next bytes and returns the packets that are complete with them. Their `bytes` are views on `chunk`
   * where possible, so do not overwrite it. Packets before a bad one are returned; the error comes with the next call.
   */
  push(chunk: Uint8Array): CaptureRecord[] {
    if (this.#failure !== undefined) throw this.#failure;
    const records: CaptureRecord[] = [];
    try {
      this.#consume(chunk, records);
    } catch (error) {
      this.#failure = error;
      this.#pending = NOTHING;
      if (records.length === 0) throw error;
    }
    return records;
  }

  /** Says that nothing follows. */
  end(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#truncated || (this.#held === 0 && this.#parser)) return;
    if (!this.#parser) throw captureError(0, 'neither pcap nor pcapng: too short');
    throw captureError(this.#position, `the file ends after ${this.#held} bytes of a packet or block`);
  }

  #consume(chunk: Uint8Array, records: CaptureRecord[]): void {
    let at = 0;
    // First what began in an earlier chunk; never more bytes than it needs.
    while (this.#held > 0) {
      const size = this.#measure(this.#pending, 0, this.#held);
      if (size <= this.#held) {
        this.#parse(this.#pending, 0, size, records);
        // The records may be views on this memory.
        this.#pending = NOTHING;
        this.#held = 0;
      } else {
        const taken = Math.min(size - this.#held, chunk.length - at);
        if (taken === 0) return;
        this.#hold(chunk, at, taken, size);
        at += taken;
      }
    }
    while (at < chunk.length) {
      const available = chunk.length - at;
      const size = this.#measure(chunk, at, available);
      if (size > available) {
        this.#hold(chunk, at, available, size);
        return;
      }
      this.#parse(chunk, at, size, records);
      at += size;
    }
  }

  #measure(bytes: Uint8Array, at: number, available: number): number {
    if (!this.#parser) {
      if (available < 4) return 4;
      const magic = pcapMagic(bytes, at);
      if (magic) this.#parser = new PcapParser(magic, this.#maxPacket);
      else if (readU32(bytes, at, true) === Block.Section) this.#parser = new PcapngParser(this.#maxPacket);
      else {
        const found = readU32(bytes, at, false).toString(16).padStart(8, '0');
        throw captureError(0, `neither pcap nor pcapng: it begins with 0x${found}`);
      }
    }
    return this.#parser.measure(bytes, at, available, this.#position);
  }

  #parse(bytes: Uint8Array, at: number, size: number, records: CaptureRecord[]): void {
    const record = this.#parser!.parse(bytes, at, size, this.#position);
    this.#position += size;
    if (!record) return;
    if (record.timed && this.#epochNs === undefined) {
      this.#setEpoch(BigInt(record.seconds) * 1_000_000_000n + BigInt(record.nanoseconds));
    }
    const nanoseconds = record.nanoseconds - this.#epochNanoseconds;
    record.timeNs =
      this.#epochNs === undefined ? 0 : (record.seconds - this.#epochSeconds) * 1e9 + nanoseconds;
    records.push(record);
  }

  #setEpoch(epochNs: bigint): void {
    this.#epochNs = epochNs;
    this.#epochSeconds = Number(epochNs / 1_000_000_000n);
    this.#epochNanoseconds = Number(epochNs % 1_000_000_000n);
  }

  /** Keeps `length` bytes of an item of `size`; doubles its memory as they arrive, not as they are promised. */
  #hold(chunk: Uint8Array, at: number, length: number, size: number): void {
    const needed = this.#held + length;
    if (needed > this.#pending.length) {
      const grown = new Uint8Array(Math.max(needed, Math.min(size, Math.max(256, 2 * this.#pending.length))));
      grown.set(this.#pending.subarray(0, this.#held));
      this.#pending = grown;
    }
    this.#pending.set(chunk.subarray(at, at + length), this.#held);
    this.#held = needed;
  }
}

/**
 * The packets of a capture, one by one: `for await (const record of readCapture(createReadStream(file)))`.
 *
 * @throws ERR_CAPTURE after the packets before the fault
 */
export async function* readCapture(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: CaptureReaderOptions = {},
): AsyncGenerator<CaptureRecord, void, undefined> {
  const reader = new CaptureReader(options);
  for await (const chunk of source) yield* reader.push(chunk);
  reader.end();
}
