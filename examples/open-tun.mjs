// Answers pings to any address of two prefixes. Run it as root, then ping 10.9.0.2 or fd00:9::2.
import { openTun } from 'tunconnector';
import { rewrite16 } from 'tunconnector/packet';

const tun = await openTun({ addresses: ['10.9.0.1/24', 'fd00:9::1/64'] });
console.log(`${tun.name} is up: ping 10.9.0.2 or fd00:9::2`);

for await (const packet of tun) {
  const v6 = packet[0] >> 4 === 6;
  const [source, length, icmp] = v6 ? [8, 16, 40] : [12, 4, (packet[0] & 15) * 4];
  const isRequest = v6 ? packet[6] === 58 && packet[icmp] === 128 : packet[9] === 1 && packet[icmp] === 8;
  if (!isRequest) continue;
  const asker = packet.slice(source, source + length);
  packet.copyWithin(source, source + length, source + 2 * length);
  packet.set(asker, source + length);
  rewrite16(packet, icmp, v6 ? 129 << 8 : 0, icmp + 2); // request becomes reply, checksum mended
  await tun.write(packet);
}
