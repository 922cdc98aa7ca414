/**
 * What the two capture formats have in common. Pure bytes: files are opened elsewhere.
 *
 * **Time.** Nanoseconds since 1970 do not fit a number (they need 61 bits, a number holds 53). So time inside is
 * integer nanoseconds since a start, as everywhere in this library, and the start itself, `epochNs`, is a bigint.
 * Their sum is exact in files; a difference is exact up to 104 days (2^53 ns). What was read also has whole
 * `seconds` and `nanoseconds` since 1970, exact always.
 */
import { TunconnectorError } from '../errors.ts';

/** What a record's bytes begin with (https://www.tcpdump.org/linktypes.html). */
export const LinkType = {
  Null: 0,
  Ethernet: 1,
  /** An IPv4 or IPv6 header: what a TUN carries. */
  Raw: 101,
  Ieee80211: 105,
  Loop: 108,
  LinuxSll: 113,
  Ipv4: 228,
  Ipv6: 229,
  LinuxSll2: 276,
} as const;

/** Bytes of a packet that are kept, and that a reader accepts, unless told otherwise: as tcpdump and Wireshark. */
export const SNAP_LENGTH = 262_144;

/** Receives finished bytes. The view is valid during the call only: write it or copy it. */
export type CaptureSink = (bytes: Uint8Array) => void;

export interface CaptureInterfaceOptions {
  /** A `LinkType` or any other number of the registry, below 65536. */
  linkType: number;
  name?: string;
  description?: string;
}

/** The direction of a packet, as the lowest two bits of a record's `flags`. */
export const CaptureDirection = { Unknown: 0, Inbound: 1, Outbound: 2 } as const;

export interface CaptureWriter {
  /** Declares an interface, once, and returns its number for `packet`. */
  addInterface(options: CaptureInterfaceOptions): number;
  /**
   * Appends one packet; allocates nothing.
   *
   * @param interfaceId from `addInterface`
   * @param timeNs integer nanoseconds since the writer's `epochNs`
   * @param length bytes of it that are in `bytes` from `offset` on; kept up to the snap length
   * @param originalLength its length on the wire, in bytes
   * @param comment such as `dropped: no-route (tunnel)`; pcap has no room for it
   * @param flags `CaptureDirection` and the other bits of epb_flags; pcap has no room for it
   */
  packet(
    interfaceId: number,
    timeNs: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    originalLength: number,
    comment?: string | readonly string[],
    flags?: number,
  ): void;
  /** Hands to the sink what has gathered. */
  flush(): void;
  /** Completes the file and flushes. Nothing can be written after it. */
  end(): void;
}

export interface CaptureWriterOptions {
  sink: CaptureSink;
  /** Nanoseconds from 1970 to the zero of `timeNs`. Default 0. */
  epochNs?: bigint;
  /** Bytes kept of each packet. Default `SNAP_LENGTH`. */
  snapLength?: number;
  /** Bytes gathered before the sink is called. Default 64 KiB. */
  bufferSize?: number;
  /** Byte order of the file. Default little. */
  byteOrder?: 'little' | 'big';
}

export interface CaptureInterface {
  /** Its number in its section of the file. */
  id: number;
  linkType: number;
  name: string | undefined;
  description: string | undefined;
  /** 0 means no limit. */
  snapLength: number;
  /** The interface statistics block, when one was read: packets received and lost, for the whole capture. */
  received: number | undefined;
  dropped: number | undefined;
}

export interface CaptureRecord {
  /** The same object for all records of an interface. */
  interface: CaptureInterface;
  /** Whole seconds since 1970. */
  seconds: number;
  /** 0 .. 999999999, what comes on top of `seconds`. Finer resolutions are cut off. */
  nanoseconds: number;
  /** Nanoseconds since the reader's `epochNs`; exact up to 2^53, rounded beyond. */
  timeNs: number;
  /** False for a simple packet block, which has no time: it is given that of the record before it. */
  timed: boolean;
  /** A view on the chunk that was pushed, or on memory of its own: it stays valid if the chunk does. */
  bytes: Uint8Array;
  /** Bytes on the wire; more than `bytes.length` when the capture cut it. */
  originalLength: number;
  comments: readonly string[];
  /** epb_flags; 0 when there are none. */
  flags: number;
}

/** A format's part of a reader: it is asked how long the next item is, and given it when it is there whole. */
export interface CaptureParser {
  /** Interfaces of the section that is being read. */
  readonly interfaces: readonly CaptureInterface[];
  /**
   * Length of the item at `at`, of which `available` bytes are there. More than `available` means: fetch as many
   * and ask again. `position` is where that is in the file, for messages.
   */
  measure(bytes: Uint8Array, at: number, available: number, position: number): number;
  parse(bytes: Uint8Array, at: number, length: number, position: number): CaptureRecord | undefined;
}

/** A capture that cannot be read: where, and what is wrong. */
export function captureError(position: number, what: string, remedy?: string): TunconnectorError {
  return new TunconnectorError('ERR_CAPTURE', `capture: at offset ${position}: ${what}`, { remedy });
}

export const readU16 = (bytes: Uint8Array, at: number, little: boolean): number =>
  little ? bytes[at]! | (bytes[at + 1]! << 8) : (bytes[at]! << 8) | bytes[at + 1]!;

export const readU32 = (bytes: Uint8Array, at: number, little: boolean): number =>
  (little
    ? bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    : (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
