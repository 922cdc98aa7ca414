/** The headers of a packet as a function sees them. Reading allocates nothing but where it says so; setters mend checksums. */
import { type AddressLike, bytesOfFamily, formatIpAt } from '../../packet/address.ts';
import * as icmp from '../../packet/icmp.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ip from '../../packet/ip.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import type { IpPrefix } from '../../packet/prefix.ts';
import * as tcp from '../../packet/tcp.ts';
import * as udp from '../../packet/udp.ts';
import { get16, get32, getInt32 } from '../../packet/word.ts';
import type { Cursor } from './cursor.ts';

export class IpView {
  readonly #c: Cursor;

  constructor(cursor: Cursor) {
    this.#c = cursor;
  }

  get version(): 4 | 6 {
    return this.#c.version;
  }

  /** IANA number, behind all extension headers. */
  get protocol(): number {
    return this.#c.protocol;
  }

  /** As text; allocates. `sourceWord`, `isFrom` and `isTo` do not. */
  get source(): string {
    const { slab, at, version } = this.#c;
    return formatIpAt(slab, ip.sourceAt(slab, at), version);
  }

  /** Text or an address that was parsed, of the packet's family. */
  set source(address: AddressLike) {
    this.#c.putAddress(true, bytesOfFamily(address, this.#c.version), 0);
  }

  get destination(): string {
    const { slab, at, version } = this.#c;
    return formatIpAt(slab, ip.destinationAt(slab, at), version);
  }

  set destination(address: AddressLike) {
    this.#c.putAddress(false, bytesOfFamily(address, this.#c.version), 0);
  }

  /** 32 bits of the source, signed: word 0 of IPv4, 0 to 3 of IPv6. */
  sourceWord(word = 0): number {
    const { slab, at } = this.#c;
    return getInt32(slab, ip.sourceAt(slab, at) + 4 * word);
  }

  destinationWord(word = 0): number {
    const { slab, at } = this.#c;
    return getInt32(slab, ip.destinationAt(slab, at) + 4 * word);
  }

  /** Whether the source is in a prefix (`parsePrefix`). */
  isFrom(prefix: IpPrefix): boolean {
    const { slab, at, version } = this.#c;
    return prefix.address.family === version && inPrefix(slab, ip.sourceAt(slab, at), prefix);
  }

  isTo(prefix: IpPrefix): boolean {
    const { slab, at, version } = this.#c;
    return prefix.address.family === version && inPrefix(slab, ip.destinationAt(slab, at), prefix);
  }

  /** TTL or hop limit. */
  get ttl(): number {
    return ip.hopLimit(this.#c.slab, this.#c.at);
  }

  set ttl(value: number) {
    this.#c.putIp8(this.#c.version === 4 ? ipv4.TTL : ipv6.HOP_LIMIT, value);
  }

  /** 6 bits. */
  get dscp(): number {
    return ip.trafficClass(this.#c.slab, this.#c.at) >> 2;
  }

  set dscp(value: number) {
    this.#putClass(((value & 63) << 2) | this.ecn);
  }

  /** 2 bits. */
  get ecn(): number {
    return ip.trafficClass(this.#c.slab, this.#c.at) & 3;
  }

  set ecn(value: number) {
    this.#putClass((this.dscp << 2) | (value & 3));
  }

  #putClass(value: number): void {
    const { slab, at, version } = this.#c;
    if (version === 4) this.#c.putIp8(ipv4.TRAFFIC_CLASS, value);
    else this.#c.putIp16(0, 0x6000 | (value << 4) | (slab[at + 1] & 15));
  }

  /** Any piece of a datagram, the first too. */
  get isFragment(): boolean {
    return this.#c.fragment;
  }

  /** Has no transport header: that is in another packet. */
  get isLaterFragment(): boolean {
    return this.#c.later;
  }

  /** IPv4; of IPv6 always true. */
  get dontFragment(): boolean {
    return this.#c.version === 6 || ipv4.dontFragment(this.#c.slab, this.#c.at);
  }

  /** IPv4; 0 of IPv6. */
  get identification(): number {
    return this.#c.version === 4 ? ipv4.identification(this.#c.slab, this.#c.at) : 0;
  }
}

function inPrefix(bytes: Uint8Array, at: number, { address, length }: IpPrefix): boolean {
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) if (bytes[at + i] !== address.bytes[i]) return false;
  const rest = length & 7;
  return rest === 0 || (bytes[at + whole] ^ address.bytes[whole]) >> (8 - rest) === 0;
}

/** What TCP and UDP have in common. */
export class PortsView {
  protected readonly cursor: Cursor;

  constructor(cursor: Cursor) {
    this.cursor = cursor;
  }

  get sourcePort(): number {
    return get16(this.cursor.slab, this.cursor.transport);
  }

  set sourcePort(port: number) {
    this.cursor.putTransport16(0, port);
  }

  get destinationPort(): number {
    return get16(this.cursor.slab, this.cursor.transport + 2);
  }

  set destinationPort(port: number) {
    this.cursor.putTransport16(2, port);
  }
}

export class UdpView extends PortsView {
  /** Header and payload, as the header says. */
  get length(): number {
    return udp.length(this.cursor.slab, this.cursor.transport);
  }
}

export class TcpView extends PortsView {
  get sequence(): number {
    return get32(this.cursor.slab, this.cursor.transport + tcp.SEQUENCE);
  }

  set sequence(value: number) {
    this.cursor.putTransport32(tcp.SEQUENCE, value);
  }

  get acknowledgment(): number {
    return get32(this.cursor.slab, this.cursor.transport + tcp.ACKNOWLEDGMENT);
  }

  set acknowledgment(value: number) {
    this.cursor.putTransport32(tcp.ACKNOWLEDGMENT, value);
  }

  /** Bits of `tcp.Flag`. */
  get flags(): number {
    return this.cursor.slab[this.cursor.transport + tcp.FLAGS];
  }

  set flags(value: number) {
    this.cursor.putTransport8(tcp.FLAGS, value);
  }

  get syn(): boolean {
    return (this.flags & tcp.Flag.Syn) !== 0;
  }

  get ack(): boolean {
    return (this.flags & tcp.Flag.Ack) !== 0;
  }

  get fin(): boolean {
    return (this.flags & tcp.Flag.Fin) !== 0;
  }

  get rst(): boolean {
    return (this.flags & tcp.Flag.Rst) !== 0;
  }

  get psh(): boolean {
    return (this.flags & tcp.Flag.Psh) !== 0;
  }

  /** As sent: not scaled. */
  get window(): number {
    return get16(this.cursor.slab, this.cursor.transport + tcp.WINDOW);
  }

  set window(value: number) {
    this.cursor.putTransport16(tcp.WINDOW, value);
  }

  /** Bytes, options among them. */
  get headerLength(): number {
    return this.cursor.payload - this.cursor.transport;
  }
}

/** ICMP or ICMPv6, by the packet's family. */
export class IcmpView {
  readonly #c: Cursor;

  constructor(cursor: Cursor) {
    this.#c = cursor;
  }

  get type(): number {
    return this.#c.slab[this.#c.transport + icmp.TYPE];
  }

  set type(value: number) {
    this.#c.putTransport8(icmp.TYPE, value);
  }

  get code(): number {
    return this.#c.slab[this.#c.transport + icmp.CODE];
  }

  set code(value: number) {
    this.#c.putTransport8(icmp.CODE, value);
  }

  /** Of an echo. */
  get identifier(): number {
    return get16(this.#c.slab, this.#c.transport + icmp.IDENTIFIER);
  }

  set identifier(value: number) {
    this.#c.putTransport16(icmp.IDENTIFIER, value);
  }

  get sequence(): number {
    return get16(this.#c.slab, this.#c.transport + icmp.SEQUENCE);
  }

  set sequence(value: number) {
    this.#c.putTransport16(icmp.SEQUENCE, value);
  }

  /** A request or its reply. */
  get isEcho(): boolean {
    return this.#c.version === 4 ? icmp.isEcho(this.type) : icmpv6.isEcho(this.type);
  }

  /** It quotes a packet, which is its payload. */
  get isError(): boolean {
    return this.#c.version === 4 ? icmp.isError(this.type) : icmpv6.isError(this.type);
  }
}
