/** ICMP (RFC 792, RFC 1191). Accessors are safe after `check`. */
import { checksum, sum } from './checksum.ts';
import { Problem } from './problem.ts';
import { get16, put16, put32 } from './word.ts';

export const HEADER = 8;

// Field offsets.
export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
/** Echo. */
export const IDENTIFIER = 4;
export const SEQUENCE = 6;
/** Destination unreachable, fragmentation needed (RFC 1191). */
export const NEXT_HOP_MTU = 6;
/** Echo data, or the packet that an error quotes. */
export const BODY = 8;

export const Type = {
  EchoReply: 0,
  Unreachable: 3,
  SourceQuench: 4,
  Redirect: 5,
  Echo: 8,
  TimeExceeded: 11,
  ParameterProblem: 12,
  Timestamp: 13,
  TimestampReply: 14,
} as const;

/** Codes of destination unreachable (RFC 792; RFC 1812, 5.2.7.1). */
export const Unreachable = {
  Network: 0,
  Host: 1,
  Protocol: 2,
  Port: 3,
  FragmentationNeeded: 4,
  NetworkProhibited: 9,
  HostProhibited: 10,
  Prohibited: 13,
} as const;

/** Codes of time exceeded. */
export const TimeExceeded = { Transit: 0, Reassembly: 1 } as const;

export function check(bytes: Uint8Array, at: number, end: number): Problem {
  return end - at < HEADER || end > bytes.length ? Problem.Truncated : Problem.None;
}

export const type = (bytes: Uint8Array, at: number): number => bytes[at + TYPE];
export const code = (bytes: Uint8Array, at: number): number => bytes[at + CODE];
export const identifier = (bytes: Uint8Array, at: number): number => get16(bytes, at + IDENTIFIER);
export const sequence = (bytes: Uint8Array, at: number): number => get16(bytes, at + SEQUENCE);
/** 0 from a router older than RFC 1191. */
export const nextHopMtu = (bytes: Uint8Array, at: number): number => get16(bytes, at + NEXT_HOP_MTU);

/** Messages that quote a packet and must not be answered with an error (RFC 1122, 3.2.2). */
export const isError = (type: number): boolean =>
  type === Type.Unreachable ||
  type === Type.SourceQuench ||
  type === Type.Redirect ||
  type === Type.TimeExceeded ||
  type === Type.ParameterProblem;

export const isEcho = (type: number): boolean => type === Type.Echo || type === Type.EchoReply;

/** Whether a message that ends at `end` has the right checksum. */
export const checksumOk = (bytes: Uint8Array, at: number, end: number): boolean =>
  sum(bytes, at, end - at) === 0xffff;

export function fillChecksum(bytes: Uint8Array, at: number, end: number): void {
  put16(bytes, at + CHECKSUM, 0);
  put16(bytes, at + CHECKSUM, checksum(bytes, at, end - at));
}

export interface IcmpMessage {
  type: number;
  code: number;
  /** The second word: identifier and sequence of an echo, MTU of fragmentation needed. */
  rest: number;
  /** Echo data, or the packet that an error quotes. */
  body: Uint8Array;
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): IcmpMessage | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return {
    type: type(bytes, at),
    code: code(bytes, at),
    rest: identifier(bytes, at) * 0x10000 + sequence(bytes, at),
    body: bytes.slice(at + BODY, end),
  };
}

/** Writes a message with its checksum and returns its length. */
export function emit(message: IcmpMessage, bytes: Uint8Array, at = 0): number {
  const end = at + HEADER + message.body.length;
  bytes[at + TYPE] = message.type;
  bytes[at + CODE] = message.code;
  put32(bytes, at + IDENTIFIER, message.rest);
  bytes.set(message.body, at + BODY);
  fillChecksum(bytes, at, end);
  return end - at;
}
