/** Frames of ARP (RFC 826, RFC 5227) and Neighbor Discovery (RFC 4861), written in place. */
import * as arp from '../../packet/arp.ts';
import * as ethernet from '../../packet/ethernet.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { EtherType, Protocol } from '../../packet/protocol.ts';
import { fillTransport } from '../../packet/transport.ts';
import { copyBytes, put16, put32 } from '../../packet/word.ts';

export const ARP_FRAME = ethernet.HEADER + arp.LENGTH;
export const ND_FRAME = ethernet.HEADER + ipv6.HEADER + 32;
const BROADCAST = new Uint8Array(6).fill(0xff);
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

/** Writes an Ethernet header. */
export function writeHeader(
  into: Uint8Array,
  at: number,
  to: Uint8Array,
  toAt: number,
  from: Uint8Array,
  type: number,
): void {
  copyBytes(to, toAt, into, at, 6);
  copyBytes(from, 0, into, at + ethernet.SOURCE, 6);
  put16(into, at + ethernet.ETHER_TYPE, type);
}

/** The link-layer address of a group (RFC 1112, 6.4; RFC 2464, 7) into six bytes at `into[at]`. */
export function groupMac(
  group: Uint8Array,
  groupAt: number,
  family: 4 | 6,
  into: Uint8Array,
  at: number,
): void {
  if (family === 6) {
    put16(into, at, 0x3333);
    copyBytes(group, groupAt + 12, into, at + 2, 4);
    return;
  }
  put16(into, at, 0x0100);
  into[at + 2] = 0x5e;
  into[at + 3] = group[groupAt + 1] & 0x7f;
  copyBytes(group, groupAt + 2, into, at + 4, 2);
}

/**
 * Writes an ARP frame.
 *
 * @param to who gets it; undefined: everybody
 * @param target whose hardware address `targetMac` is, which a request leaves at zeros
 */
export function writeArp(
  into: Uint8Array,
  at: number,
  operation: number,
  mac: Uint8Array,
  sender: Uint8Array,
  target: Uint8Array,
  to: Uint8Array | undefined,
): void {
  writeHeader(into, at, to ?? BROADCAST, 0, mac, EtherType.Arp);
  const header = at + ethernet.HEADER;
  put32(into, header, (1 << 16) | EtherType.Ipv4);
  put16(into, header + arp.HARDWARE_LENGTH, 0x0604);
  put16(into, header + arp.OPERATION, operation);
  copyBytes(mac, 0, into, header + arp.SENDER_MAC, 6);
  copyBytes(sender, 0, into, header + arp.SENDER_IP, 4);
  if (operation === arp.Operation.Reply && to) copyBytes(to, 0, into, header + arp.TARGET_MAC, 6);
  else into.fill(0, header + arp.TARGET_MAC, header + arp.TARGET_MAC + 6);
  copyBytes(target, 0, into, header + arp.TARGET_IP, 4);
}

/** The group that solicitations for an address go to (RFC 4291, 2.7.1). */
export function solicitedNode(target: Uint8Array): Uint8Array {
  const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0);
  copyBytes(target, 13, group, 13, 3);
  return group;
}

/** Writes a neighbor solicitation. @param to undefined: to the group of the target */
export function writeSolicitation(
  into: Uint8Array,
  at: number,
  mac: Uint8Array,
  source: Uint8Array,
  target: Uint8Array,
  to: Uint8Array | undefined,
): void {
  const destination = to ? target : solicitedNode(target);
  writeNd(into, at, mac, source, destination, target, to, icmpv6.Type.NeighborSolicitation, 0);
}

/** Writes a neighbor advertisement of an own address. @param destination undefined: to all nodes */
export function writeAdvertisement(
  into: Uint8Array,
  at: number,
  mac: Uint8Array,
  target: Uint8Array,
  destination: Uint8Array | undefined,
  to: Uint8Array | undefined,
): void {
  // Solicited (when somebody asked), override.
  const flags = destination ? 0x60 : 0x20;
  const type = icmpv6.Type.NeighborAdvertisement;
  writeNd(into, at, mac, target, destination ?? ALL_NODES, target, to, type, flags);
}

function writeNd(
  into: Uint8Array,
  at: number,
  mac: Uint8Array,
  source: Uint8Array,
  destination: Uint8Array,
  target: Uint8Array,
  to: Uint8Array | undefined,
  type: number,
  flags: number,
): void {
  const ip = at + ethernet.HEADER;
  const message = ip + ipv6.HEADER;
  writeHeader(into, at, to ?? BROADCAST, 0, mac, EtherType.Ipv6);
  if (!to) groupMac(destination, 0, 6, into, at);
  put32(into, ip, 0x60000000);
  put16(into, ip + ipv6.PAYLOAD_LENGTH, 32);
  into[ip + ipv6.NEXT_HEADER] = Protocol.Icmpv6;
  // RFC 4861, 7.1: what comes from another link has less.
  into[ip + ipv6.HOP_LIMIT] = 255;
  copyBytes(source, 0, into, ip + ipv6.SOURCE, 16);
  copyBytes(destination, 0, into, ip + ipv6.DESTINATION, 16);
  put32(into, message, type << 24);
  put32(into, message + 4, flags << 24);
  copyBytes(target, 0, into, message + icmpv6.TARGET, 16);
  into[message + 24] =
    type === icmpv6.Type.NeighborSolicitation
      ? icmpv6.NdOption.SourceLinkAddress
      : icmpv6.NdOption.TargetLinkAddress;
  into[message + 25] = 1;
  copyBytes(mac, 0, into, message + 26, 6);
  fillTransport(into, ip);
}

/** Whether `length` bytes at two places are equal. */
export function sameAt(a: Uint8Array, at: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[at + i] !== b[bAt + i]) return false;
  return true;
}
