/**
 * Geneve (RFC 8926): which virtual network a packet belongs to, what follows by its EtherType, and options. Accessors are
 * safe after `check`, which walks the options too. Reserved bits are ignored and kept.
 */
import { Problem } from './problem.ts';
import { get16, get32, put16, put32 } from './word.ts';

/** UDP destination port (IANA). */
export const PORT = 6081;
/** Length of a header without options. */
export const HEADER = 8;
/** Length of an option without its data. */
export const OPTION_HEADER = 4;

// Field offsets.
export const FLAGS = 1;
export const PROTOCOL = 2;
export const VNI = 4;
export const OPTIONS = 8;

export const Flag = {
  /** There are options that whoever does not know them must not skip. */
  Critical: 0x40,
  /** A control message for the other end itself. */
  Oam: 0x80,
} as const;

/** Bit of an option's type: drop the packet rather than skip it (RFC 8926, 3.5). */
export const CRITICAL_OPTION = 0x80;

/** Whether a header with its options starts at `at` and ends by `end`. */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  if (bytes[at] >> 6 !== 0) return Problem.Version;
  const header = headerLength(bytes, at);
  if (header > end - at) return Problem.Truncated;
  let option = at + OPTIONS;
  while (option < at + header) option += optionLength(bytes, option);
  return option === at + header ? Problem.None : Problem.Options;
}

/** Options included: 8 to 260 bytes. */
export const headerLength = (bytes: Uint8Array, at: number): number => HEADER + ((bytes[at] & 63) << 2);
/** Bits of Flag. */
export const flags = (bytes: Uint8Array, at: number): number => bytes[at + FLAGS] & 0xc0;
/** EtherType of what follows. */
export const protocol = (bytes: Uint8Array, at: number): number => get16(bytes, at + PROTOCOL);
/** Virtual network identifier, 24 bits. */
export const vni = (bytes: Uint8Array, at: number): number => get32(bytes, at + VNI) >>> 8;

export const setVni = (bytes: Uint8Array, at: number, value: number): void =>
  put32(bytes, at + VNI, (value << 8) | bytes[at + VNI + 3]);

/** Header and data of the option at `option`. */
export const optionLength = (bytes: Uint8Array, option: number): number =>
  OPTION_HEADER + ((bytes[option + 3] & 31) << 2);

export interface GeneveOption {
  /** Namespace of the type: IANA's, or from 0xff00 on anybody's for experiments. */
  class: number;
  /** 8 bits, of which the highest is CRITICAL_OPTION. */
  type: number;
  /** Up to 124 bytes, a multiple of 4. */
  data: Uint8Array;
}

export interface GeneveHeader {
  /** Bits of Flag. */
  flags: number;
  /** EtherType. */
  protocol: number;
  /** 24 bits. */
  vni: number;
  options: GeneveOption[];
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): GeneveHeader | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  const options: GeneveOption[] = [];
  const limit = at + headerLength(bytes, at);
  for (let option = at + OPTIONS; option < limit; option += optionLength(bytes, option)) {
    options.push({
      class: get16(bytes, option),
      type: bytes[option + 2],
      data: bytes.slice(option + OPTION_HEADER, option + optionLength(bytes, option)),
    });
  }
  return { flags: flags(bytes, at), protocol: protocol(bytes, at), vni: vni(bytes, at), options };
}

/** Bytes that `emit` writes. */
export const emitLength = (header: { options?: GeneveOption[] }): number =>
  (header.options ?? []).reduce((total, { data }) => total + OPTION_HEADER + data.length, HEADER);

/**
 * Writes a header and returns its length. Critical options set their flag. Data that is no multiple of 4 bytes, or more
 * options than fit, are a RangeError.
 */
export function emit(
  header: Pick<GeneveHeader, 'protocol' | 'vni'> & Partial<GeneveHeader>,
  bytes: Uint8Array,
  at = 0,
): number {
  const options = header.options ?? [];
  const length = emitLength(header);
  if (length > HEADER + 252)
    throw new RangeError(`Geneve options take ${length - HEADER} bytes, 252 fit into a header`);
  const critical = options.some(({ type }) => (type & CRITICAL_OPTION) !== 0) ? Flag.Critical : 0;
  bytes[at] = (length - HEADER) >> 2;
  bytes[at + FLAGS] = (header.flags ?? 0) | critical;
  put16(bytes, at + PROTOCOL, header.protocol);
  put32(bytes, at + VNI, header.vni << 8);
  let to = at + OPTIONS;
  for (const option of options) {
    if (option.data.length % 4 !== 0 || option.data.length > 124)
      throw new RangeError(
        `a Geneve option has ${option.data.length} bytes, expected a multiple of 4 up to 124`,
      );
    put16(bytes, to, option.class);
    bytes[to + 2] = option.type;
    bytes[to + 3] = option.data.length >> 2;
    bytes.set(option.data, to + OPTION_HEADER);
    to += OPTION_HEADER + option.data.length;
  }
  return length;
}
