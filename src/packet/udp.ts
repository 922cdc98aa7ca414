/** UDP (RFC 768). Accessors are safe after `check`. */
import { Problem } from './problem.ts';
import { get16, put16 } from './word.ts';

export const HEADER = 8;

// Field offsets.
export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const LENGTH = 4;
export const CHECKSUM = 6;

/** Whether a datagram starts at `at` and ends by `end`. */
export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < HEADER || end > bytes.length) return Problem.Truncated;
  const length = get16(bytes, at + LENGTH);
  return length < HEADER || length > end - at ? Problem.Length : Problem.None;
}

export const sourcePort = (bytes: Uint8Array, at: number): number => get16(bytes, at + SOURCE_PORT);
export const destinationPort = (bytes: Uint8Array, at: number): number => get16(bytes, at + DESTINATION_PORT);
/** Header and payload. */
export const length = (bytes: Uint8Array, at: number): number => get16(bytes, at + LENGTH);
/** 0 over IPv4: the sender made none. */
export const checksum = (bytes: Uint8Array, at: number): number => get16(bytes, at + CHECKSUM);

export const setSourcePort = (bytes: Uint8Array, at: number, port: number): void =>
  put16(bytes, at + SOURCE_PORT, port);
export const setDestinationPort = (bytes: Uint8Array, at: number, port: number): void =>
  put16(bytes, at + DESTINATION_PORT, port);
export const setLength = (bytes: Uint8Array, at: number, value: number): void =>
  put16(bytes, at + LENGTH, value);

export interface UdpHeader {
  sourcePort: number;
  destinationPort: number;
  payloadLength: number;
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): UdpHeader | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return {
    sourcePort: sourcePort(bytes, at),
    destinationPort: destinationPort(bytes, at),
    payloadLength: length(bytes, at) - HEADER,
  };
}

/** Writes a header without checksum (`fillTransport` adds it) and returns its length. */
export function emit(header: UdpHeader, bytes: Uint8Array, at = 0): number {
  setSourcePort(bytes, at, header.sourcePort);
  setDestinationPort(bytes, at, header.destinationPort);
  setLength(bytes, at, HEADER + header.payloadLength);
  put16(bytes, at + CHECKSUM, 0);
  return HEADER;
}
