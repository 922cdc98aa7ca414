/** Superframes made by hand, and the slow, obvious way to cut them. */

export interface SuperframeOptions {
  version: 4 | 6;
  protocol: 'tcp' | 'udp';
  payload: Uint8Array;
  segmentSize: number;
  /** Bytes in front of the IP header. */
  link?: Uint8Array;
  /** Bytes of IPv4 options or of an IPv6 destination options header; a multiple of 8. */
  ipOptions?: number;
  /** Bytes of TCP options, a multiple of 4. */
  tcpOptions?: number;
  /** TCP flags byte. */
  flags?: number;
  sequence?: number;
  identification?: number;
  /** Last byte of the addresses. */
  source?: number;
  destination?: number;
}

export interface Superframe {
  bytes: Uint8Array;
  l3: number;
  l4: number;
  headers: number;
  gsoType: number;
  segmentSize: number;
  checksumStart: number;
  checksumOffset: number;
  segments: number;
}

export const put16 = (bytes: Uint8Array, at: number, value: number) => {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
};
export const put32 = (bytes: Uint8Array, at: number, value: number) => {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value);
};
export const get16 = (bytes: Uint8Array, at: number) => bytes[at]! * 256 + bytes[at + 1]!;

/** RFC 1071 as it is written there: add words, bring the carries in at the end. */
export function slowSum(bytes: Uint8Array, initial = 0): number {
  let total = initial;
  for (let i = 0; i < bytes.length; i += 2) total += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total % 0x10000) + Math.floor(total / 0x10000);
  return total;
}

function pseudo(packet: Uint8Array, l3: number, l4: number, version: 4 | 6, protocol: number): number {
  const addresses = version === 4 ? packet.subarray(l3 + 12, l3 + 20) : packet.subarray(l3 + 8, l3 + 40);
  return slowSum(addresses, packet.length - l4 + protocol);
}

export function superframe(options: SuperframeOptions): Superframe {
  const { version, protocol, payload, segmentSize, link = new Uint8Array(0) } = options;
  const { ipOptions = 0, tcpOptions = 0, flags = 0x18, sequence = 1000, identification = 77 } = options;
  const tcp = protocol === 'tcp';
  const number = tcp ? 6 : 17;
  const l3 = link.length;
  const l4 = l3 + (version === 4 ? 20 : 40) + ipOptions;
  const headers = l4 + (tcp ? 20 + tcpOptions : 8);
  const bytes = new Uint8Array(headers + payload.length);
  bytes.set(link);
  bytes.set(payload, headers);
  const ip = bytes.subarray(l3);
  if (version === 4) {
    ip[0] = 0x40 | ((20 + ipOptions) / 4);
    put16(ip, 2, ip.length);
    put16(ip, 4, identification);
    put16(ip, 6, 0x4000);
    ip[8] = 64;
    ip[9] = number;
    ip.set([10, 0, 0, options.source ?? 1, 10, 0, 0, options.destination ?? 2], 12);
    ip.fill(1, 20, 20 + ipOptions);
    put16(ip, 10, ~slowSum(ip.subarray(0, 20 + ipOptions)) & 0xffff);
  } else {
    ip[0] = 0x60;
    put16(ip, 4, ip.length - 40);
    ip[6] = ipOptions > 0 ? 60 : number;
    ip[7] = 64;
    ip.set([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, options.source ?? 1], 8);
    ip.set([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, options.destination ?? 2], 24);
    if (ipOptions > 0) {
      // Next header, length beyond the first 8 bytes, and PadN over the rest.
      ip.set([number, ipOptions / 8 - 1, 1, ipOptions - 4], 40);
    }
  }
  put16(bytes, l4, 4000);
  put16(bytes, l4 + 2, 5000);
  if (tcp) {
    put32(bytes, l4 + 4, sequence);
    put32(bytes, l4 + 8, 42);
    bytes[l4 + 12] = ((20 + tcpOptions) / 4) << 4;
    bytes[l4 + 13] = flags;
    put16(bytes, l4 + 14, 8192);
    bytes.fill(1, l4 + 20, headers);
  } else {
    put16(bytes, l4 + 4, bytes.length - l4);
  }
  const checksumOffset = tcp ? 16 : 6;
  put16(bytes, l4 + checksumOffset, pseudo(bytes, l3, l4, version, number));
  return {
    bytes,
    l3,
    l4,
    headers,
    gsoType: tcp ? (version === 4 ? 1 : 4) : 5,
    segmentSize,
    checksumStart: l4,
    checksumOffset,
    segments: Math.ceil(payload.length / segmentSize),
  };
}

/** The wire packets, one after the other, each built and summed from scratch. */
export function slowSegments(frame: Superframe): Uint8Array[] {
  const { bytes, l3, l4, headers, segmentSize } = frame;
  const payload = bytes.subarray(headers);
  const version = bytes[l3]! >> 4 === 4 ? 4 : 6;
  const tcp = frame.gsoType !== 5;
  const found: Uint8Array[] = [];
  for (let start = 0; start < payload.length; start += segmentSize) {
    const part = payload.subarray(start, start + segmentSize);
    const packet = new Uint8Array(headers + part.length);
    packet.set(bytes.subarray(0, headers));
    packet.set(part, headers);
    const last = start + segmentSize >= payload.length;
    if (version === 4) {
      put16(packet, l3 + 2, packet.length - l3);
      put16(packet, l3 + 4, get16(bytes, l3 + 4) + found.length);
      put16(packet, l3 + 10, 0);
      put16(packet, l3 + 10, ~slowSum(packet.subarray(l3, l4)) & 0xffff);
    } else {
      put16(packet, l3 + 4, packet.length - l3 - 40);
    }
    if (tcp) {
      const sequence = get16(bytes, l4 + 4) * 65536 + get16(bytes, l4 + 6);
      put32(packet, l4 + 4, (sequence + start) % 2 ** 32);
      if (!last) packet[l4 + 13]! &= ~0x09;
      if (found.length > 0) packet[l4 + 13]! &= ~0x80;
    } else {
      put16(packet, l4 + 4, packet.length - l4);
    }
    const field = l4 + (tcp ? 16 : 6);
    put16(packet, field, 0);
    const sum = ~slowSum(packet.subarray(l4), pseudo(packet, l3, l4, version, tcp ? 6 : 17)) & 0xffff;
    put16(packet, field, sum === 0 && !tcp ? 0xffff : sum);
    found.push(packet);
  }
  return found;
}
