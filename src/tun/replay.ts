/**
 * A capture as a port: the packets of a pcap or pcapng file enter the network at their recorded times, counted from
 * the first breath. Of the file only the part that is being read is in memory.
 *
 *   1. bytes come from the file (or from memory) in chunks;
 *   2. `CaptureReader` turns a chunk into records;
 *   3. a record that is due loses its link header, if it has one that is not Ethernet, and becomes a packet.
 */
import { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../engine/app.ts';
import { configError } from '../engine/config.ts';
import type { Link } from '../engine/link.ts';
import { checkOptions } from '../engine/options.ts';
import type { Pool } from '../engine/pool.ts';
import { Reason, reason } from '../engine/reasons.ts';
import { SECOND } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';
import { HEADROOM, LARGE_SLOT } from '../native/binding.ts';
import { type CaptureInterface, type CaptureRecord, LinkType } from '../packet/capture.ts';
import { CaptureReader } from '../packet/capture-reader.ts';
import { openReplayFile, type ReplaySource } from './live-replay-file.ts';

/** The capture kept only the beginning of the packet. */
const CaptureCut = reason('capture-cut');
/** What follows the link header is neither IPv4 nor IPv6. */
const NotIp = reason('not-ip');

/** How far the file is searched for the interface that gives the port its layer. */
const SEARCH_LIMIT = 16 << 20;
const BYTES_CHUNK = 64 << 10;
/** How our own captures mark packets that an app dropped: they never went further. */
const DROPPED = 'dropped: ';

interface Framing {
  layer: Layer;
  /** Bytes in front of the IP header that are taken off. */
  skip: number;
}

const FRAMINGS: Record<number, Framing> = {
  [LinkType.Ethernet]: { layer: 'L2', skip: 0 },
  [LinkType.Raw]: { layer: 'L3', skip: 0 },
  [LinkType.Ipv4]: { layer: 'L3', skip: 0 },
  [LinkType.Ipv6]: { layer: 'L3', skip: 0 },
  [LinkType.Null]: { layer: 'L3', skip: 4 },
  [LinkType.Loop]: { layer: 'L3', skip: 4 },
  [LinkType.LinuxSll]: { layer: 'L3', skip: 16 },
  [LinkType.LinuxSll2]: { layer: 'L3', skip: 20 },
};

const schema = z.strictObject({
  /** Path of a pcap or pcapng file. */
  file: z.string().min(1).optional(),
  /** The same as bytes. */
  bytes: z.custom<Uint8Array>((v) => v instanceof Uint8Array, 'expected a Uint8Array').optional(),
  /** 2 is twice as fast; `fast` as fast as the network takes them. */
  speed: z.union([z.number().positive().finite(), z.literal('fast')]).default(1),
  /** How often, or `true` for ever. */
  loop: z.union([z.boolean(), z.number().int().positive()]).default(false),
  /** Only packets of this interface, by name or number. */
  interface: z.union([z.string(), z.number().int().nonnegative()]).optional(),
});

export type ReplayOptions = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

export class ReplayPort implements App {
  readonly inputs = [];
  readonly outputs = ['out'];
  readonly layers: Readonly<Record<string, Layer>>;
  readonly #options: Checked;
  readonly #layer: Layer;
  readonly #passesWanted: number;
  #context: AppContext | undefined;
  #source: ReplaySource | undefined;
  #reader = new CaptureReader({ truncated: true });
  #records: CaptureRecord[] = [];
  #next = 0;
  /** When the current pass began: ns since the runtime's start; -1 before the first breath. */
  #passStart = -1;
  #due = Number.POSITIVE_INFINITY;
  /** Of this pass: records seen, packets that entered, and the last record's time, ns since the first. */
  #passRecords = 0;
  #passPackets = 0;
  #lastTime = 0;
  #done = false;
  #error = '';
  #passes = 0;
  #packets = 0;
  #bytes = 0;

  constructor(options: Checked) {
    this.#options = options;
    this.#passesWanted = options.loop === true ? Number.POSITIVE_INFINITY : Number(options.loop || 1);
    const source = this.#openSource(true, () => {});
    try {
      this.#layer = findLayer(source, options.interface);
    } catch (error) {
      throw named(error, options.file);
    } finally {
      source.close();
    }
    this.layers = { out: this.#layer };
  }

  open(context: AppContext): void {
    this.#context = context;
    this.#source = this.#openSource(!context.runtime.live, () => context.wake());
  }

  #openSource(immediate: boolean, onReady: () => void): ReplaySource {
    const { file, bytes } = this.#options;
    return bytes ? new BytesSource(bytes) : openReplayFile(file!, { immediate, onReady });
  }

  pull({ pool, output, now }: Ports, room: number): boolean {
    this.#due = Number.POSITIVE_INFINITY;
    if (this.#done) return false;
    if (this.#passStart < 0) this.#passStart = now;
    let put = 0;
    // Records that are skipped use up the burst as well: a breath stays short whatever is in the file.
    for (let i = 0; i < room; i++) {
      const record = this.#peek();
      if (!record) return false;
      const due = this.#dueTime(record, now);
      if (due > now) {
        this.#due = due;
        return false;
      }
      const entered = this.#enter(record, pool, output.out, now);
      if (entered < 0) return true;
      put += entered;
      this.#next++;
    }
    // With nothing moved the network would not come back by itself.
    if (put === 0) this.#due = now;
    return true;
  }

  nextDeadline(): number {
    return this.#due;
  }

  /** The next record; undefined when there is none now (`onReady` follows) or never again. */
  #peek(): CaptureRecord | undefined {
    while (this.#next >= this.#records.length) {
      try {
        const chunk = this.#source!.next();
        if (chunk === undefined) return undefined;
        if (chunk === null) {
          if (!this.#startPass()) return undefined;
          continue;
        }
        this.#records = this.#reader.push(chunk);
        this.#next = 0;
      } catch (error) {
        this.#fail(named(error, this.#options.file));
        return undefined;
      }
    }
    return this.#records[this.#next];
  }

  #dueTime(record: CaptureRecord, now: number): number {
    const { speed } = this.#options;
    return speed === 'fast' ? now : this.#passStart + Math.round(record.timeNs / speed);
  }

  /** Returns how many packets entered (0 or 1), or -1 when there is no memory for it now. */
  #enter(record: CaptureRecord, pool: Pool, out: Link, now: number): number {
    if (!this.#wanted(record)) return this.#seen(record, 0);
    const { layer, skip } = FRAMINGS[record.interface.linkType]!;
    const length = record.bytes.length - skip;
    let problem = -1;
    if (record.bytes.length < record.originalLength) problem = CaptureCut;
    else if (length > LARGE_SLOT - HEADROOM) problem = Reason.TooLong;
    else if (length <= 0) problem = Reason.Malformed;
    else if (layer === 'L3' && !isIpVersion(record.bytes[skip]! >>> 4)) problem = NotIp;
    if (problem >= 0) {
      pool.countDrops(problem, 1);
      return this.#seen(record, 0);
    }
    const packet = pool.allocFor(length, this.#context!.account);
    if (packet < 0) return -1;
    const at = pool.offset[packet]!;
    for (let i = 0; i < length; i++) pool.slab[at + i] = record.bytes[skip + i]!;
    pool.length[packet] = length;
    pool.layer[packet] = layer === 'L2' ? 2 : 3;
    pool.l3Offset[packet] = layer === 'L2' ? ethernetHeader(record.bytes) : 0;
    pool.arrived[pool.slot[packet]] = now;
    out.put(packet);
    this.#packets++;
    this.#bytes += length;
    return this.#seen(record, 1);
  }

  #seen(record: CaptureRecord, entered: number): number {
    this.#passRecords++;
    this.#passPackets += entered;
    if (record.timeNs > this.#lastTime) this.#lastTime = record.timeNs;
    return entered;
  }

  #wanted(record: CaptureRecord): boolean {
    const wanted = this.#options.interface;
    if (wanted !== undefined && !isInterface(record.interface, wanted)) return false;
    if (FRAMINGS[record.interface.linkType]?.layer !== this.#layer) return false;
    return wanted !== undefined || !record.comments.some((comment) => comment.startsWith(DROPPED));
  }

  /** At the end of the file: begins again, or ends. */
  #startPass(): boolean {
    this.#reader.end();
    this.#passes++;
    // A pass in which nothing entered would be followed by others like it, all at one instant.
    if (this.#passes >= this.#passesWanted || this.#passPackets === 0) {
      this.#done = true;
      this.#context!.emit({
        type: 'replay-end',
        packets: this.#packets,
        bytes: this.#bytes,
        passes: this.#passes,
      });
      return false;
    }
    // The next pass follows after one mean gap between packets; a file without duration repeats every second.
    const gap = this.#lastTime > 0 ? this.#lastTime / Math.max(1, this.#passRecords - 1) : SECOND;
    const { speed } = this.#options;
    if (speed !== 'fast') this.#passStart += Math.round((this.#lastTime + gap) / speed);
    this.#reader = new CaptureReader({ truncated: true });
    this.#records = [];
    this.#next = 0;
    this.#passRecords = this.#passPackets = this.#lastTime = 0;
    this.#source!.rewind();
    return true;
  }

  /** The rest of the file cannot be read. What entered is on its way, and the network goes on. */
  #fail(error: unknown): void {
    this.#done = true;
    this.#error = error instanceof Error ? error.message : String(error);
    const code = error instanceof TunconnectorError ? error.code : 'ERR_CAPTURE';
    this.#context!.emit({ type: 'replay-failed', code, message: this.#error });
  }

  report(): AppReport {
    return {
      packets: this.#packets,
      bytes: this.#bytes,
      passes: this.#passes,
      done: this.#done,
      ...(this.#error ? { error: this.#error } : {}),
    };
  }

  close(): void | Promise<void> {
    this.#done = true;
    this.#records = [];
    return this.#source?.close();
  }
}

class BytesSource implements ReplaySource {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  next(): Uint8Array | null {
    if (this.#at >= this.#bytes.length) return null;
    const chunk = this.#bytes.subarray(this.#at, this.#at + BYTES_CHUNK);
    this.#at += chunk.length;
    return chunk;
  }

  rewind(): void {
    this.#at = 0;
  }

  close(): void {}
}

/** What the port carries: the layer of the chosen interface, or else of the first that can be replayed. */
function findLayer(source: ReplaySource, wanted: string | number | undefined): Layer {
  const reader = new CaptureReader({ truncated: true });
  let searched = 0;
  for (;;) {
    const chunk = source.next();
    if (chunk) {
      reader.push(chunk);
      searched += chunk.length;
    }
    for (const each of reader.interfaces) {
      if (wanted !== undefined && !isInterface(each, wanted)) continue;
      const framing = FRAMINGS[each.linkType];
      if (framing) return framing.layer;
      if (wanted !== undefined) throw unsupported(each);
    }
    if (chunk && searched < SEARCH_LIMIT) continue;
    reader.end();
    const names = reader.interfaces.map((each) => each.name ?? String(each.id)).join(', ');
    if (wanted !== undefined) {
      throw new TunconnectorError('ERR_CAPTURE', `the capture has no interface "${wanted}"`, {
        remedy: names ? `choose one of ${names}` : undefined,
      });
    }
    if (reader.interfaces[0]) throw unsupported(reader.interfaces[0]);
    throw new TunconnectorError('ERR_CAPTURE', 'the capture has no interfaces, and so no packets');
  }
}

function unsupported({ linkType, name, id }: CaptureInterface): TunconnectorError {
  return new TunconnectorError('ERR_CAPTURE', `the interface "${name ?? id}" has link type ${linkType}`, {
    remedy: 'replay Ethernet, raw IP, BSD loopback or Linux cooked captures',
  });
}

/** Says which file it was about. */
function named(error: unknown, file: string | undefined): unknown {
  if (!(error instanceof TunconnectorError) || !file || error.message.includes(file)) return error;
  return new TunconnectorError(error.code, `${file}: ${error.message}`, { cause: error });
}

const isInterface = (each: CaptureInterface, wanted: string | number) =>
  typeof wanted === 'number' ? each.id === wanted : each.name === wanted;

const isIpVersion = (version: number) => version === 4 || version === 6;

/** Length of the Ethernet header with its VLAN tags (IEEE 802.1Q, 802.1ad). */
function ethernetHeader(frame: Uint8Array): number {
  let at = 12;
  while (at + 4 <= frame.length) {
    const type = (frame[at]! << 8) | frame[at + 1]!;
    if (type !== 0x8100 && type !== 0x88a8) break;
    at += 4;
  }
  return at + 2;
}

/** @example replay({ file: 'trace.pcapng', speed: 10, interface: 'eth0' }) */
export const replay = defineApp<ReplayOptions, Checked>({
  module: import.meta.url,
  export: 'replay',
  check(options) {
    const checked = checkOptions(schema, options);
    if ((checked.file === undefined) === (checked.bytes === undefined)) {
      throw configError(
        `found ${checked.file === undefined ? 'neither' : 'both'} file and bytes, expected one of them`,
      );
    }
    return checked;
  },
  create: (options) => new ReplayPort(options),
});
