/** Numbers that more than one header carries. IANA: ieee-802-numbers, protocol-numbers. */

export const EtherType = {
  Ipv4: 0x0800,
  Arp: 0x0806,
  /** 802.1Q customer tag. */
  Vlan: 0x8100,
  Ipv6: 0x86dd,
  /** 802.1ad service tag. */
  ServiceVlan: 0x88a8,
  Nsh: 0x894f,
} as const;

export const Protocol = {
  HopByHop: 0,
  Icmp: 1,
  Igmp: 2,
  Ipv4: 4,
  Tcp: 6,
  Udp: 17,
  Dccp: 33,
  Ipv6: 41,
  Routing: 43,
  Fragment: 44,
  Gre: 47,
  Esp: 50,
  Ah: 51,
  Icmpv6: 58,
  NoNextHeader: 59,
  DestinationOptions: 60,
  EtherIp: 97,
  Sctp: 132,
  Mobility: 135,
  UdpLite: 136,
} as const;

const NAMES = new Map<number, string>([
  [Protocol.HopByHop, 'hop-by-hop'],
  [Protocol.Icmp, 'icmp'],
  [Protocol.Igmp, 'igmp'],
  [Protocol.Ipv4, 'ipip'],
  [Protocol.Tcp, 'tcp'],
  [Protocol.Udp, 'udp'],
  [Protocol.Dccp, 'dccp'],
  [Protocol.Ipv6, 'ipv6'],
  [Protocol.Gre, 'gre'],
  [Protocol.Esp, 'esp'],
  [Protocol.Ah, 'ah'],
  [Protocol.Icmpv6, 'icmp6'],
  [Protocol.NoNextHeader, 'no next header'],
  [Protocol.EtherIp, 'etherip'],
  [Protocol.Sctp, 'sctp'],
  [Protocol.UdpLite, 'udplite'],
]);

/** `'tcp'`, `'udp'`, ... or `'protocol 200'`. */
export const protocolName = (protocol: number): string => NAMES.get(protocol) ?? `protocol ${protocol}`;

/** Explicit Congestion Notification, the low two bits of the traffic class (RFC 3168, 5). */
export const Ecn = { NotEct: 0, Ect1: 1, Ect0: 2, Ce: 3 } as const;
