/** What this host is on its link: its addresses, and the frames that it makes. */
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import * as arp from '../../packet/arp.ts';
import * as ethernet from '../../packet/ethernet.ts';
import { broadcastOf, type IpPrefix } from '../../packet/prefix.ts';
import { EtherType } from '../../packet/protocol.ts';
import { onLink } from '../options.ts';
import { ARP_FRAME, ND_FRAME, sameAt, writeAdvertisement, writeArp, writeHeader } from './messages.ts';

export class Station {
  readonly pool: Pool;
  readonly account: number;
  readonly mac: Uint8Array;
  own: readonly IpPrefix[] = [];
  /** Nobody was told of the own addresses yet. */
  silent = true;
  /** The link that frames leave on. */
  output: Link | undefined;
  #broadcasts: readonly Uint8Array[] = [];

  constructor(pool: Pool, account: number, mac: Uint8Array) {
    this.pool = pool;
    this.account = account;
    this.mac = mac;
  }

  /** Other addresses, which will be announced. */
  setOwn(own: readonly IpPrefix[]): void {
    this.own = own;
    this.silent = true;
    const four = own.filter(({ address, length }) => address.family === 4 && length <= 30);
    this.#broadcasts = four.map((each) => broadcastOf(each).bytes);
  }

  /** The own address at `bytes[at]`, or undefined. */
  ownAt(bytes: Uint8Array, at: number, size: number): Uint8Array | undefined {
    for (const { address } of this.own)
      if (address.bytes.length === size && sameAt(bytes, at, address.bytes, 0, size)) return address.bytes;
    return undefined;
  }

  /** Whether the IPv4 address at `bytes[at]` is for more than one host of the link. */
  isGroup4(bytes: Uint8Array, at: number): boolean {
    if (bytes[at] >= 224) return true;
    for (let i = 0; i < this.#broadcasts.length; i++)
      if (sameAt(bytes, at, this.#broadcasts[i], 0, 4)) return true;
    return false;
  }

  /** A frame leaves. */
  put(frame: number): void {
    this.output!.put(frame);
  }

  /** A frame of so many bytes, which hold anything; -1: no memory. */
  make(length: number): number {
    const pool = this.pool;
    const frame = pool.alloc(this.account);
    if (frame < 0) {
      pool.countDrops(Reason.NoMemory, 1);
      return -1;
    }
    pool.length[frame] = length;
    pool.layer[frame] = 2;
    pool.l3Offset[frame] = ethernet.HEADER;
    return frame;
  }

  /** A packet leaves for a link-layer address. */
  send(packet: number, mac: Uint8Array, macAt: number): void {
    const pool = this.pool;
    if (!pool.own(packet) || pool.headroom(packet) < ethernet.HEADER) {
      pool.drop(packet, Reason.NoMemory);
      return;
    }
    const at = pool.offset[packet] - ethernet.HEADER;
    const type = pool.slab[pool.offset[packet]] >> 4 === 4 ? EtherType.Ipv4 : EtherType.Ipv6;
    writeHeader(pool.slab, at, mac, macAt, this.mac, type);
    pool.offset[packet] = at;
    pool.length[packet] += ethernet.HEADER;
    pool.layer[packet] = 2;
    pool.l3Offset[packet] = ethernet.HEADER;
    if (pool.checksumStart[packet] >= 0) pool.checksumStart[packet] += ethernet.HEADER;
    this.put(packet);
  }

  /** Tells the link that the own addresses are here (RFC 5227, 2.3; RFC 4861, 7.2.6). */
  announceAll(): void {
    this.silent = false;
    for (const { address } of this.own) this.announceOne(address.bytes);
  }

  /** The same of one address. */
  announceOne(own: Uint8Array): void {
    const isV4 = own.length === 4;
    const frame = this.make(isV4 ? ARP_FRAME : ND_FRAME);
    if (frame < 0) return;
    const { slab, offset } = this.pool;
    if (isV4) writeArp(slab, offset[frame], arp.Operation.Request, this.mac, own, own, undefined);
    else writeAdvertisement(slab, offset[frame], this.mac, own, undefined, undefined);
    this.put(frame);
  }

  /** An own address of the link that `target` is on; of another, if there is none. */
  near(family: 4 | 6, target: Uint8Array): Uint8Array | undefined {
    const all = this.own.filter(({ address }) => address.family === family);
    return (all.find((own) => onLink(own, target)) ?? all[0])?.address.bytes;
  }
}
