/** ARP for IPv4 over Ethernet (RFC 826). Accessors are safe after `check`, which refuses every other kind. */
import { type AddressLike, bytesOfFamily, type IpAddress, ipAt } from './address.ts';
import { formatMac, parseMac } from './prefix.ts';
import { Problem } from './problem.ts';
import { EtherType } from './protocol.ts';
import { get16, put16 } from './word.ts';

export const LENGTH = 28;

// Field offsets.
export const HARDWARE_TYPE = 0;
export const PROTOCOL_TYPE = 2;
export const HARDWARE_LENGTH = 4;
export const PROTOCOL_LENGTH = 5;
export const OPERATION = 6;
export const SENDER_MAC = 8;
export const SENDER_IP = 14;
export const TARGET_MAC = 18;
export const TARGET_IP = 24;

export const Operation = { Request: 1, Reply: 2 } as const;
const ETHERNET = 1;

export function check(bytes: Uint8Array, at: number, end: number): Problem {
  if (end - at < LENGTH || end > bytes.length) return Problem.Truncated;
  const known =
    get16(bytes, at + HARDWARE_TYPE) === ETHERNET &&
    get16(bytes, at + PROTOCOL_TYPE) === EtherType.Ipv4 &&
    bytes[at + HARDWARE_LENGTH] === 6 &&
    bytes[at + PROTOCOL_LENGTH] === 4;
  return known ? Problem.None : Problem.Protocol;
}

export const operation = (bytes: Uint8Array, at: number): number => get16(bytes, at + OPERATION);

export interface ArpPacket {
  operation: number;
  senderMac: string;
  senderIp: IpAddress;
  /** All zeros in a request. */
  targetMac: string;
  targetIp: IpAddress;
}

export function parse(bytes: Uint8Array, at = 0, end = bytes.length): ArpPacket | undefined {
  if (check(bytes, at, end) !== Problem.None) return undefined;
  return {
    operation: operation(bytes, at),
    senderMac: formatMac(bytes, at + SENDER_MAC),
    senderIp: ipAt(bytes, at + SENDER_IP, 4),
    targetMac: formatMac(bytes, at + TARGET_MAC),
    targetIp: ipAt(bytes, at + TARGET_IP, 4),
  };
}

/** Writes 28 bytes and returns that. */
export function emit(
  packet: Omit<ArpPacket, 'senderIp' | 'targetIp'> & { senderIp: AddressLike; targetIp: AddressLike },
  bytes: Uint8Array,
  at = 0,
): number {
  put16(bytes, at + HARDWARE_TYPE, ETHERNET);
  put16(bytes, at + PROTOCOL_TYPE, EtherType.Ipv4);
  bytes[at + HARDWARE_LENGTH] = 6;
  bytes[at + PROTOCOL_LENGTH] = 4;
  put16(bytes, at + OPERATION, packet.operation);
  bytes.set(parseMac(packet.senderMac), at + SENDER_MAC);
  bytes.set(bytesOfFamily(packet.senderIp, 4), at + SENDER_IP);
  bytes.set(parseMac(packet.targetMac), at + TARGET_MAC);
  bytes.set(bytesOfFamily(packet.targetIp, 4), at + TARGET_IP);
  return LENGTH;
}
