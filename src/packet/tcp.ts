/** TCP headers (RFC 9293) and options (RFC 7323, RFC 2018). Accessors are safe after `check`. */
import { update16 } from './checksum.ts';
import { Problem } from './problem.ts';
import { get16, get32, put16, put32 } from './word.ts';

/** Length of a header without options. */
export const HEADER = 20;
export const MAX_HEADER = 60;

// Field offsets.
export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const SEQUENCE = 4;
export const ACKNOWLEDGMENT = 8;
export const DATA_OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
export const URGENT = 18;
export const OPTIONS = 20;

export const Flag = {
  Fin: 0x01,
  Syn: 0x02,
  Rst: 0x04,
  Psh: 0x08,
  Ack: 0x10,
  Urg: 0x20,
  Ece: 0x40,
  Cwr: 0x80,
} as const;

export const Option = {
  End: 0,
  NoOperation: 1,
  Mss: 2,
  WindowScale: 3,
  SackPermitted: 4,
  Sack: 5,
  Timestamps: 8,
} as const;

/** Whether a header with its options starts at `at` and ends by `end`. What the options hold is `checkOptions`' business. */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  const header = headerLength(bytes, at);
  if (header < HEADER) return Problem.HeaderLength;
  return header > end - at ? Problem.Truncated : Problem.None;
}

export const sourcePort = (bytes: Uint8Array, at: number): number => get16(bytes, at + SOURCE_PORT);
export const destinationPort = (bytes: Uint8Array, at: number): number => get16(bytes, at + DESTINATION_PORT);
export const sequence = (bytes: Uint8Array, at: number): number => get32(bytes, at + SEQUENCE);
export const acknowledgment = (bytes: Uint8Array, at: number): number => get32(bytes, at + ACKNOWLEDGMENT);
export const headerLength = (bytes: Uint8Array, at: number): number => (bytes[at + DATA_OFFSET] >> 4) << 2;
export const flags = (bytes: Uint8Array, at: number): number => bytes[at + FLAGS];
/** As sent: not scaled. */
export const window = (bytes: Uint8Array, at: number): number => get16(bytes, at + WINDOW);
export const checksum = (bytes: Uint8Array, at: number): number => get16(bytes, at + CHECKSUM);
export const urgent = (bytes: Uint8Array, at: number): number => get16(bytes, at + URGENT);

export const setSourcePort = (bytes: Uint8Array, at: number, port: number): void =>
  put16(bytes, at + SOURCE_PORT, port);
export const setDestinationPort = (bytes: Uint8Array, at: number, port: number): void =>
  put16(bytes, at + DESTINATION_PORT, port);
export const setSequence = (bytes: Uint8Array, at: number, value: number): void =>
  put32(bytes, at + SEQUENCE, value);
export const setAcknowledgment = (bytes: Uint8Array, at: number, value: number): void =>
  put32(bytes, at + ACKNOWLEDGMENT, value);
export const setFlags = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at + FLAGS] = value;
};
export const setWindow = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + WINDOW, value);

/** The offset of the option behind the one at `option`, or `end` when no more come, or -1 when it is malformed. */
export function nextOption(bytes: Uint8Array, option: number, end: number): number {
  const kind = bytes[option];
  if (kind === Option.End) return end;
  if (kind === Option.NoOperation) return option + 1;
  if (option + 1 >= end) return -1;
  const length = bytes[option + 1];
  return length < 2 || option + length > end ? -1 : option + length;
}

/** Whether every option ends inside the header. */
export function checkOptions(bytes: Uint8Array, at: number): Problem {
  const end = at + headerLength(bytes, at);
  for (let option = at + OPTIONS; option < end; ) {
    option = nextOption(bytes, option, end);
    if (option < 0) return Problem.Options;
  }
  return Problem.None;
}

/** Offset of the first option of a kind with exactly this length, or -1. Stops at a malformed one. */
export function findOption(bytes: Uint8Array, at: number, kind: number, length: number): number {
  const end = at + headerLength(bytes, at);
  for (let option = at + OPTIONS; option >= 0 && option < end; option = nextOption(bytes, option, end)) {
    if (bytes[option] === kind && option + length <= end && bytes[option + 1] === length) return option;
  }
  return -1;
}

const swap = (word: number): number => ((word & 0xff) << 8) | (word >> 8);

/**
 * Lowers the MSS option of a SYN to `mss`, never raises it, and mends the checksum (RFC 1624). Returns whether
 * anything changed. Other packets, and a SYN without the option, stay as they are.
 *
 * @param openChecksum the field holds a pseudo-header's sum for an offload, which does not cover options
 */
export function clampMss(bytes: Uint8Array, at: number, mss: number, openChecksum = false): boolean {
  if ((bytes[at + FLAGS] & Flag.Syn) === 0) return false;
  const option = findOption(bytes, at, Option.Mss, 4);
  if (option < 0) return false;
  const before = get16(bytes, option + 2);
  if (before <= mss) return false;
  put16(bytes, option + 2, mss);
  if (!openChecksum) {
    // At an odd distance the two bytes belong to two words; ones' complement sums do not mind which way round.
    const odd = ((option - at) & 1) !== 0;
    const field = get16(bytes, at + CHECKSUM);
    put16(bytes, at + CHECKSUM, update16(field, odd ? swap(before) : before, odd ? swap(mss) : mss));
  }
  return true;
}

export interface TcpOptions {
  /** Bytes. */
  mss?: number;
  /** Shift count, 0 to 14. */
  windowScale?: number;
  sackPermitted?: boolean;
  /** Left and right edge of up to four blocks. */
  sack?: [number, number][];
  timestamps?: { value: number; echo: number };
}

export interface TcpHeader {
  sourcePort: number;
  destinationPort: number;
  sequence: number;
  acknowledgment: number;
  /** Bits of Flag. */
  flags: number;
  /** As sent: not scaled. */
  window: number;
  urgent: number;
  /** The ones this library knows. */
  options: TcpOptions;
}

/** Undefined when `check` finds a problem or an option is malformed. */
export function parse(bytes: Uint8Array, at = 0, end = bytes.length): TcpHeader | undefined {
  if (check(bytes, at, end) !== Problem.None || checkOptions(bytes, at) !== Problem.None) return undefined;
  return {
    sourcePort: sourcePort(bytes, at),
    destinationPort: destinationPort(bytes, at),
    sequence: sequence(bytes, at),
    acknowledgment: acknowledgment(bytes, at),
    flags: flags(bytes, at),
    window: window(bytes, at),
    urgent: urgent(bytes, at),
    options: parseOptions(bytes, at),
  };
}

function parseOptions(bytes: Uint8Array, at: number): TcpOptions {
  const options: TcpOptions = {};
  const end = at + headerLength(bytes, at);
  for (let option = at + OPTIONS; option < end; option = nextOption(bytes, option, end)) {
    const kind = bytes[option];
    if (kind === Option.End || kind === Option.NoOperation) continue;
    const length = bytes[option + 1];
    if (kind === Option.Mss && length === 4) options.mss = get16(bytes, option + 2);
    else if (kind === Option.WindowScale && length === 3) options.windowScale = bytes[option + 2];
    else if (kind === Option.SackPermitted && length === 2) options.sackPermitted = true;
    else if (kind === Option.Timestamps && length === 10)
      options.timestamps = { value: get32(bytes, option + 2), echo: get32(bytes, option + 6) };
    else if (kind === Option.Sack && length % 8 === 2) {
      options.sack = [];
      for (let block = option + 2; block < option + length; block += 8) {
        options.sack.push([get32(bytes, block), get32(bytes, block + 4)]);
      }
    }
  }
  return options;
}

function optionBytes(options: TcpOptions): number[] {
  const word = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  const bytes: number[] = [];
  if (options.mss !== undefined) bytes.push(Option.Mss, 4, options.mss >> 8, options.mss & 255);
  if (options.sackPermitted) bytes.push(Option.SackPermitted, 2);
  if (options.timestamps) {
    // RFC 7323, appendix A: the values at a multiple of four.
    while (bytes.length % 4 !== 2) bytes.push(Option.NoOperation);
    bytes.push(Option.Timestamps, 10, ...word(options.timestamps.value), ...word(options.timestamps.echo));
  }
  if (options.windowScale !== undefined)
    bytes.push(Option.NoOperation, Option.WindowScale, 3, options.windowScale);
  if (options.sack?.length) {
    while (bytes.length % 4 !== 2) bytes.push(Option.NoOperation);
    bytes.push(Option.Sack, 2 + 8 * options.sack.length, ...options.sack.flat().flatMap(word));
  }
  while (bytes.length % 4 !== 0) bytes.push(Option.NoOperation);
  return bytes;
}

/** Bytes that `emit` writes: 20 to 60. */
export const emitLength = (header: { options?: TcpOptions }): number =>
  HEADER + optionBytes(header.options ?? {}).length;

export type TcpFields = Pick<TcpHeader, 'sourcePort' | 'destinationPort'> & Partial<TcpHeader>;

/**
 * Writes a header without checksum (`fillTransport` adds it) and returns its length. Defaults: flags ACK, window
 * 65535, the rest 0. Options that need more than 40 bytes are a RangeError.
 */
export function emit(header: TcpFields, bytes: Uint8Array, at = 0): number {
  const options = optionBytes(header.options ?? {});
  const length = HEADER + options.length;
  if (length > MAX_HEADER)
    throw new RangeError(`TCP options take ${options.length} bytes, 40 fit into a header`);
  setSourcePort(bytes, at, header.sourcePort);
  setDestinationPort(bytes, at, header.destinationPort);
  setSequence(bytes, at, header.sequence ?? 0);
  setAcknowledgment(bytes, at, header.acknowledgment ?? 0);
  bytes[at + DATA_OFFSET] = (length >> 2) << 4;
  setFlags(bytes, at, header.flags ?? Flag.Ack);
  setWindow(bytes, at, header.window ?? 0xffff);
  put16(bytes, at + CHECKSUM, 0);
  put16(bytes, at + URGENT, header.urgent ?? 0);
  bytes.set(options, at + OPTIONS);
  return length;
}

const FLAG_LETTERS: [number, string][] = [
  [Flag.Fin, 'F'],
  [Flag.Syn, 'S'],
  [Flag.Rst, 'R'],
  [Flag.Psh, 'P'],
  [Flag.Ack, '.'],
  [Flag.Urg, 'U'],
  [Flag.Ece, 'E'],
  [Flag.Cwr, 'W'],
];

/** As tcpdump writes them: `S.`, `P.`, `F.`, `none`. */
export const flagText = (flags: number): string =>
  FLAG_LETTERS.filter(([bit]) => flags & bit)
    .map(([, letter]) => letter)
    .join('') || 'none';
