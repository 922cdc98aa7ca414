/** Whole packets from a few words, with valid checksums: for tests and for trying things out. */
import { addressError, type IpAddress, parseIp } from './address.ts';
import * as ethernet from './ethernet.ts';
import * as icmp from './icmp.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from './prefix.ts';
import { EtherType, Protocol } from './protocol.ts';
import * as tcp from './tcp.ts';
import { fillTransport } from './transport.ts';
import * as udp from './udp.ts';
import { put16 } from './word.ts';

/** Text is UTF-8; a number is that many bytes of a counting pattern. */
export type Payload = string | Uint8Array | number;

/** What every builder takes beside its own. */
export interface PacketOptions {
  payload?: Payload;
  /** TTL or hop limit. Default 64. */
  ttl?: number;
  dscp?: number;
  ecn?: number;
  /** IPv4 only. */
  identification?: number;
  /** IPv4 only. Default false. */
  dontFragment?: boolean;
  /** IPv4 only: raw options, padded to a multiple of 4. */
  ipOptions?: Uint8Array;
  /** IPv6 only. */
  flowLabel?: number;
  /** IPv6 only: in front of the transport header. Their next-header fields are linked here. */
  extensions?: ipv6.Extension[];
  /** Frames the packet; without it the result is the IP packet alone. */
  ethernet?: { source: string; destination: string; tags?: ethernet.VlanTag[] };
}

export interface EndpointOptions extends PacketOptions {
  /** `10.0.0.1:1000` or `[fd00::1]:1000`. Default: just these, by the family of `to`. */
  from?: string;
  to: string;
}

export interface UdpOptions extends EndpointOptions {
  /** Leave the checksum 0. IPv4 only. */
  noChecksum?: boolean;
}

export interface TcpPacketOptions extends EndpointOptions {
  sequence?: number;
  acknowledgment?: number;
  /** Bits of `tcp.Flag`. Default ACK. */
  flags?: number;
  window?: number;
  urgent?: number;
  tcpOptions?: tcp.TcpOptions;
}

export interface EchoOptions extends PacketOptions {
  /** Default `10.0.0.1` or `fd00::1`, by the family of `to`. */
  from?: string;
  to: string;
  /** Default false: a request. */
  reply?: boolean;
  identifier?: number;
  sequence?: number;
}

const payloadBytes = (payload: Payload = ''): Uint8Array =>
  typeof payload === 'string'
    ? new TextEncoder().encode(payload)
    : typeof payload === 'number'
      ? Uint8Array.from({ length: payload }, (_, i) => i)
      : payload;

/** An IP packet (or frame) around `transport`, which starts with a header whose checksum is open. */
export function ipPacket(
  options: PacketOptions & { from: IpAddress; to: IpAddress; protocol: number; transport: Uint8Array },
): Uint8Array {
  const { from, to, transport } = options;
  if (from.family !== to.family) {
    throw addressError(
      formatEndpoint({ address: from, port: 0 }),
      `an IPv${to.family} address like the other`,
    );
  }
  const extensions = to.family === 6 ? (options.extensions ?? []) : [];
  const chain = extensions.reduce((total, each) => total + each.bytes.length, 0);
  const ipHeader = to.family === 4 ? ipv4.emitLength({ options: options.ipOptions }) : ipv6.HEADER;
  const at = options.ethernet ? ethernet.emitLength(options.ethernet) : 0;
  const bytes = new Uint8Array(at + ipHeader + chain + transport.length);
  if (options.ethernet) {
    ethernet.emit({ ...options.ethernet, type: to.family === 4 ? EtherType.Ipv4 : EtherType.Ipv6 }, bytes);
  }
  const common = { source: from, destination: to, dscp: options.dscp, ecn: options.ecn };
  if (to.family === 4) {
    ipv4.emit(
      {
        ...common,
        protocol: options.protocol,
        payloadLength: transport.length,
        ttl: options.ttl,
        identification: options.identification,
        dontFragment: options.dontFragment,
        options: options.ipOptions,
      },
      bytes,
      at,
    );
  } else {
    ipv6.emit(
      {
        ...common,
        nextHeader: extensions[0]?.protocol ?? options.protocol,
        payloadLength: chain + transport.length,
        hopLimit: options.ttl,
        flowLabel: options.flowLabel,
      },
      bytes,
      at,
    );
    let header = at + ipv6.HEADER;
    extensions.forEach((extension, i) => {
      bytes.set(extension.bytes, header);
      bytes[header] = extensions[i + 1]?.protocol ?? options.protocol;
      header += extension.bytes.length;
    });
  }
  bytes.set(transport, at + ipHeader + chain);
  fillTransport(bytes, at);
  return bytes;
}

function endpoints(options: EndpointOptions): { from: Endpoint; to: Endpoint } {
  const to = parseEndpoint(options.to);
  return {
    to,
    from: parseEndpoint(options.from ?? (to.address.family === 4 ? '10.0.0.1:1000' : '[fd00::1]:1000')),
  };
}

/** `udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 'hello' })` */
export function udpPacket(options: UdpOptions): Uint8Array {
  const { from, to } = endpoints(options);
  const data = payloadBytes(options.payload);
  const transport = new Uint8Array(udp.HEADER + data.length);
  udp.emit({ sourcePort: from.port, destinationPort: to.port, payloadLength: data.length }, transport);
  transport.set(data, udp.HEADER);
  const bytes = ipPacket({
    ...options,
    from: from.address,
    to: to.address,
    protocol: Protocol.Udp,
    transport,
  });
  if (options.noChecksum) put16(bytes, bytes.length - transport.length + udp.CHECKSUM, 0);
  return bytes;
}

/** `tcpPacket({ to: '10.0.0.2:80', flags: tcp.Flag.Syn, tcpOptions: { mss: 1460 } })` */
export function tcpPacket(options: TcpPacketOptions): Uint8Array {
  const { from, to } = endpoints(options);
  const header = {
    sourcePort: from.port,
    destinationPort: to.port,
    sequence: options.sequence,
    acknowledgment: options.acknowledgment,
    flags: options.flags,
    window: options.window,
    urgent: options.urgent,
    options: options.tcpOptions,
  };
  const data = payloadBytes(options.payload);
  const length = tcp.emitLength(header);
  const transport = new Uint8Array(length + data.length);
  tcp.emit(header, transport);
  transport.set(data, length);
  return ipPacket({ ...options, from: from.address, to: to.address, protocol: Protocol.Tcp, transport });
}

/** `icmpEcho({ to: '10.0.0.2', sequence: 1 })`; ICMPv6 by the family of `to`. */
export function icmpEcho(options: EchoOptions): Uint8Array {
  const to = parseIp(options.to);
  const from = parseIp(options.from ?? (to.family === 4 ? '10.0.0.1' : 'fd00::1'));
  const Type = to.family === 4 ? icmp.Type : icmpv6.Type;
  const body = payloadBytes(options.payload);
  const transport = new Uint8Array(icmp.HEADER + body.length);
  const message = {
    type: options.reply ? Type.EchoReply : Type.Echo,
    code: 0,
    rest: (options.identifier ?? 1) * 0x10000 + (options.sequence ?? 1),
    body,
  };
  // The two share their layout; ipPacket writes the checksum.
  icmpv6.emit(message, transport);
  const protocol = to.family === 4 ? Protocol.Icmp : Protocol.Icmpv6;
  return ipPacket({ ...options, from, to, protocol, transport });
}
