import { rewrite16 } from '../src/packet/index.ts';

/** The answer to an echo request of either family, in place; undefined for anything else. */
export function pingReply(packet: Uint8Array): Uint8Array | undefined {
  const isV6 = packet[0]! >> 4 === 6;
  const [source, size, icmp] = isV6 ? [8, 16, 40] : [12, 4, (packet[0]! & 15) * 4];
  if (packet[isV6 ? 6 : 9] !== (isV6 ? 58 : 1) || packet[icmp] !== (isV6 ? 128 : 8)) return undefined;
  const asker = packet.slice(source, source + size);
  packet.copyWithin(source, source + size, source + 2 * size);
  packet.set(asker, source + size);
  rewrite16(packet, icmp, (isV6 ? 129 : 0) << 8, icmp + 2);
  return packet;
}
