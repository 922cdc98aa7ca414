/** Wire packets made by hand, and the slow, obvious rule for which of them are one superframe. */
import { get16, put16, put32, slowSum } from './superframes.ts';

const get32 = (bytes: Uint8Array, at: number) => get16(bytes, at) * 65536 + get16(bytes, at + 2);

export interface PacketOptions {
  version: 4 | 6;
  protocol: 'tcp' | 'udp';
  payload: Uint8Array;
  /** Bytes in front of the IP header; its last two are set to the EtherType. */
  link?: Uint8Array;
  source?: number;
  port?: number;
  dsField?: number;
  ttl?: number;
  dontFragment?: boolean;
  identification?: number;
  flowLabel?: number;
  sequence?: number;
  acknowledgement?: number;
  window?: number;
  flags?: number;
  /** A multiple of 4. */
  tcpOptions?: Uint8Array;
}

/** A good wire packet. */
export function wirePacket(options: PacketOptions): Uint8Array {
  const { version, protocol, payload, link = new Uint8Array(0), tcpOptions = new Uint8Array(0) } = options;
  const tcp = protocol === 'tcp';
  const l3 = link.length;
  const l4 = l3 + (version === 4 ? 20 : 40);
  const headers = l4 + (tcp ? 20 + tcpOptions.length : 8);
  const bytes = new Uint8Array(headers + payload.length);
  bytes.set(link);
  if (l3 > 0) put16(bytes, l3 - 2, version === 4 ? 0x0800 : 0x86dd);
  bytes.set(payload, headers);
  const { source = 1, dsField = 0, ttl = 64 } = options;
  const ip = bytes.subarray(l3);
  if (version === 4) {
    ip[0] = 0x45;
    ip[1] = dsField;
    put16(ip, 4, options.identification ?? 0);
    put16(ip, 6, (options.dontFragment ?? true) ? 0x4000 : 0);
    ip[8] = ttl;
    ip[9] = tcp ? 6 : 17;
    ip.set([10, 0, 0, source, 10, 0, 0, 200], 12);
  } else {
    put32(ip, 0, 0x60000000 + dsField * 0x100000 + (options.flowLabel ?? 0));
    ip[6] = tcp ? 6 : 17;
    ip[7] = ttl;
    ip.set([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, source], 8);
    ip.set([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200], 24);
  }
  put16(bytes, l4, options.port ?? 4000);
  put16(bytes, l4 + 2, 5000);
  if (tcp) {
    put32(bytes, l4 + 4, options.sequence ?? 0);
    put32(bytes, l4 + 8, options.acknowledgement ?? 7);
    bytes[l4 + 12] = (5 + tcpOptions.length / 4) << 4;
    bytes[l4 + 13] = options.flags ?? 0x10;
    put16(bytes, l4 + 14, options.window ?? 500);
    bytes.set(tcpOptions, l4 + 20);
  }
  return withSums(bytes, l3);
}

/** Lengths and checksums of a packet without IP options made right. */
export function withSums(packet: Uint8Array, l3: number): Uint8Array {
  const bytes = packet.slice();
  const version = bytes[l3]! >> 4;
  const l4 = l3 + (version === 4 ? 20 : 40);
  const protocol = bytes[l3 + (version === 4 ? 9 : 6)]!;
  if (version === 4) {
    put16(bytes, l3 + 2, bytes.length - l3);
    put16(bytes, l3 + 10, 0);
    put16(bytes, l3 + 10, ~slowSum(bytes.subarray(l3, l4)) & 0xffff);
  } else {
    put16(bytes, l3 + 4, bytes.length - l4);
  }
  if (protocol === 17) put16(bytes, l4 + 4, bytes.length - l4);
  const addresses = version === 4 ? bytes.subarray(l3 + 12, l3 + 20) : bytes.subarray(l3 + 8, l3 + 40);
  const field = l4 + (protocol === 6 ? 16 : 6);
  put16(bytes, field, 0);
  const sum = ~slowSum(bytes.subarray(l4), slowSum(addresses, bytes.length - l4 + protocol)) & 0xffff;
  put16(bytes, field, sum === 0 && protocol === 17 ? 0xffff : sum);
  return bytes;
}

/** What was offered to be merged. */
export interface Offered {
  bytes: Uint8Array;
  /** Which of the prefixes stands in front of it. */
  prefix?: number;
  peer: number;
  trafficClass: number;
}

export interface Group {
  members: Offered[];
  /** By how much the IPv4 identification grows; undefined while there is one member. */
  idStep: number | undefined;
}

const MOST = { tcp: 128, udp: 64 };

interface Layout {
  key: string;
  l4: number;
  headers: number;
  tcp: boolean;
  four: boolean;
}

/** Where the headers of a plain TCP or UDP packet are; undefined for anything that is not one from end to end. */
function layoutOf(bytes: Uint8Array, l3: number): Layout | undefined {
  const four = bytes[l3]! >> 4 === 4;
  if (bytes.length < l3 + 28 || (four && (bytes[l3] !== 0x45 || (get16(bytes, l3 + 6) & 0xbfff) !== 0)))
    return;
  const l4 = l3 + (four ? 20 : 40);
  const protocol = bytes[l3 + (four ? 9 : 6)]!;
  if (protocol !== 6 && protocol !== 17) return;
  const tcp = protocol === 6;
  if (bytes.length < l4 + (tcp ? 20 : 8)) return;
  const headers = l4 + (tcp ? (bytes[l4 + 12]! >> 4) * 4 : 8);
  return { key: flowOf(bytes, l3, l4), l4, headers, tcp, four };
}

const flowOf = (bytes: Uint8Array, l3: number, l4: number) => {
  const four = bytes[l3]! >> 4 === 4;
  const addresses = four ? bytes.subarray(l3 + 12, l3 + 20) : bytes.subarray(l3 + 8, l3 + 40);
  return `${bytes[l3 + (four ? 9 : 6)]} ${addresses} ${bytes.subarray(l4, l4 + 4)}`;
};

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/**
 * What cutting a superframe that begins with `first` gives as its packet `index` for this payload; `consumed` is the
 * payload in front of it.
 */
function cutPacket(
  first: Uint8Array,
  l3: number,
  { l4, headers, tcp, four }: Layout,
  index: number,
  consumed: number,
  payload: Uint8Array,
  push: boolean,
  idStep: number,
): Uint8Array {
  const bytes = new Uint8Array(headers + payload.length);
  bytes.set(first.subarray(0, headers));
  bytes.set(payload, headers);
  if (four) put16(bytes, l3 + 4, get16(first, l3 + 4) + index * idStep);
  if (tcp) {
    put32(bytes, l4 + 4, get32(first, l4 + 4) + consumed);
    if (push) bytes[l4 + 13]! |= 8;
  }
  return withSums(bytes, l3);
}

/**
 * The packets in the order of their groups' first ones. A packet joins the last group of its flow if it is, byte by
 * byte, the packet that cutting the grown superframe gives. One that cannot be told to be of a flow ends them all.
 */
export function slowGroups(packets: readonly Offered[], l3Of: (bytes: Uint8Array) => number): Group[] {
  const groups: Group[] = [];
  const open = new Map<string, Group>();
  for (const packet of packets) {
    const { bytes } = packet;
    const l3 = l3Of(bytes);
    const layout = layoutOf(bytes, l3);
    const key = `${packet.peer} ${layout?.key ?? flowBehindOptions(bytes, l3)}`;
    const isFragment = key.endsWith('fragment');
    if (isFragment)
      for (const other of [...open.keys()]) if (other.startsWith(`${packet.peer} `)) open.delete(other);
    const group = open.get(key);
    const idStep = group && layout ? joins(group, packet, l3, layout) : undefined;
    if (group && idStep !== undefined) {
      group.members.push(packet);
      group.idStep = idStep;
      continue;
    }
    const fresh: Group = { members: [packet], idStep: undefined };
    groups.push(fresh);
    if (!isFragment) open.set(key, fresh);
  }
  return groups;
}

/** The ports behind IPv4 options; the tests make no other packets of TCP and UDP that are not plain. */
function flowBehindOptions(bytes: Uint8Array, l3: number): string {
  if (bytes[l3]! >> 4 !== 4 || bytes.length < l3 + 20) return 'none';
  if ((get16(bytes, l3 + 6) & 0x3fff) !== 0) return 'fragment';
  const l4 = l3 + (bytes[l3]! & 15) * 4;
  return l4 + 8 <= bytes.length ? flowOf(bytes, l3, l4) : 'none';
}

/** The identification's step with which a packet joins a group, or undefined. */
function joins(group: Group, packet: Offered, l3: number, layout: Layout): number | undefined {
  const { l4, headers, tcp, four } = layout;
  const first = group.members[0]!.bytes;
  const last = group.members.at(-1)!;
  const begin = layoutOf(first, l3);
  if (!begin || begin.headers !== headers || packet.trafficClass !== last.trafficClass) return;
  if (packet.prefix !== last.prefix) return;
  const size = first.length - headers;
  const payload = packet.bytes.subarray(headers);
  if (size <= 0 || payload.length === 0 || payload.length > size) return;
  if (last.bytes.length < first.length || group.members.length >= MOST[tcp ? 'tcp' : 'udp']) return;
  const consumed = size * group.members.length;
  if (headers - l3 + consumed + payload.length > 65535) return;
  const field = l4 + (tcp ? 16 : 6);
  if (!tcp && (get16(first, field) === 0 || get16(packet.bytes, field) === 0)) return;
  // All flags but ACK stand for something that happened between two packets; PSH for an end.
  const flags = (bytes: Uint8Array) => (tcp ? bytes[l4 + 13]! : 0x10);
  if (flags(first) !== 0x10 || flags(last.bytes) !== 0x10 || (flags(packet.bytes) & ~8) !== 0x10) return;
  if (tcp && (first[l4 + 12]! & 15) !== 0) return;
  if (!same(withSums(first, l3), first)) return;
  const push = flags(packet.bytes) !== 0x10;
  const constantId = four && (first[l3 + 6]! & 0x40) !== 0;
  const steps = group.idStep !== undefined ? [group.idStep] : constantId ? [1, 0] : [1];
  return steps.find((step) =>
    same(packet.bytes, cutPacket(first, l3, layout, group.members.length, consumed, payload, push, step)),
  );
}

/** What comes out when a group's superframe is cut: its packets, but identifications that stood still have moved on. */
export function cutGroup(group: Group, l3Of: (bytes: Uint8Array) => number): Uint8Array[] {
  return group.members.map(({ bytes }, index) => {
    if (group.idStep !== 0) return bytes;
    const l3 = l3Of(bytes);
    const moved = bytes.slice();
    put16(moved, l3 + 4, get16(bytes, l3 + 4) + index);
    return withSums(moved, l3);
  });
}
