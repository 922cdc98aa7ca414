import { describe, expect, it } from 'vitest';
import {
  arp,
  describePacket,
  EtherType,
  ethernet,
  icmpEcho,
  ipPacket,
  ipv4,
  Protocol,
  parseIp,
  tcp,
  tcpPacket,
  udpPacket,
} from '../../src/packet/index.ts';

const hosts = { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' };

describe('a packet in one line', () => {
  it.each([
    [udpPacket({ to: '10.0.0.2:53', payload: 'hello' }), 'IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 5'],
    [
      tcpPacket({ to: '[fd00::2]:80', flags: tcp.Flag.Syn, tcpOptions: { mss: 1440, windowScale: 7 } }),
      'IP6 fd00::1.1000 > fd00::2.80: Flags [S], seq 0, win 65535, options [mss 1440,wscale 7], length 0',
    ],
    [
      tcpPacket({ to: '10.0.0.2:80', flags: 0x18, sequence: 0xffffffff, acknowledgment: 7, payload: 3 }),
      'IP 10.0.0.1.1000 > 10.0.0.2.80: Flags [P.], seq 4294967295:2, ack 7, win 65535, length 3',
    ],
    [
      tcpPacket({
        to: '10.0.0.2:80',
        tcpOptions: { sackPermitted: true, timestamps: { value: 1, echo: 2 }, sack: [[5, 9]] },
      }),
      'IP 10.0.0.1.1000 > 10.0.0.2.80: Flags [.], seq 0, ack 0, win 65535, ' +
        'options [sackOK,TS val 1 ecr 2,sack 1 {5:9}], length 0',
    ],
    [
      icmpEcho({ to: '10.0.0.2', identifier: 3, sequence: 4, payload: 56 }),
      'IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 3, seq 4, length 64',
    ],
    [
      icmpEcho({ to: 'fd00::2', reply: true, payload: 56 }),
      'IP6 fd00::1 > fd00::2: ICMP6, echo reply, id 1, seq 1, length 64',
    ],
    [new Uint8Array(0), '[IP: truncated header, length 0]'],
    [new Uint8Array(40).fill(0x70), '[IP: wrong version, length 40]'],
  ])('%#: %s', (packet, expected) => {
    expect(describePacket(packet)).toBe(expected);
  });

  it('says what a frame carries', () => {
    const framed = udpPacket({ to: '10.0.0.2:53', ethernet: { ...hosts, tags: [{ id: 9, priority: 2 }] } });
    expect(describePacket(framed, 0, framed.length, 2)).toBe(
      '02:00:00:00:00:01 > 02:00:00:00:00:02, vlan 9, p 2, IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 0',
    );
    const bytes = new Uint8Array(42);
    ethernet.emit({ ...hosts, type: EtherType.Arp }, bytes);
    const packet = {
      senderMac: hosts.source,
      senderIp: '10.0.0.1',
      targetMac: hosts.destination,
      targetIp: '10.0.0.2',
    };
    arp.emit({ ...packet, operation: arp.Operation.Request }, bytes, 14);
    expect(describePacket(bytes, 0, 42, 2)).toContain(
      'ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28',
    );
    arp.emit({ ...packet, operation: arp.Operation.Reply }, bytes, 14);
    expect(describePacket(bytes, 0, 42, 2)).toContain(
      'ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28',
    );
    expect(describePacket(bytes, 0, 30, 2)).toContain('[ARP: truncated header, length 16]');
    ethernet.setEtherType(bytes, 0, 0x88cc);
    expect(describePacket(bytes, 0, 42, 2)).toContain('ethertype 0x88cc, length 28');
  });

  it('tells fragments apart', () => {
    const packet = udpPacket({ to: '10.0.0.2:53', payload: 92, identification: 77 });
    ipv4.setFragment(packet, 0, ipv4.MORE_FRAGMENTS);
    expect(describePacket(packet)).toBe(
      'IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 92 (frag id 77, offset 0+)',
    );
    ipv4.setFragment(packet, 0, 5);
    expect(describePacket(packet)).toBe('IP 10.0.0.1 > 10.0.0.2: udp (frag id 77, offset 40), length 100');
  });

  it('names neighbors and protocols', () => {
    const from = parseIp('fe80::1');
    const solicitation = ipPacket({
      ...{ from, to: parseIp('ff02::1:ff00:2'), protocol: Protocol.Icmpv6 },
      transport: Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0, ...parseIp('fe80::2').bytes),
    });
    expect(describePacket(solicitation)).toBe(
      'IP6 fe80::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation, who has fe80::2, length 24',
    );
    const gre = ipPacket({
      from,
      to: parseIp('fe80::2'),
      protocol: Protocol.Gre,
      transport: new Uint8Array(4),
    });
    expect(describePacket(gre)).toBe('IP6 fe80::1 > fe80::2: gre, length 4');
  });
});
