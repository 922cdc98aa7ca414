/**
 * Between a link of Ethernet frames and a stack: it finds the link-layer addresses of neighbours (ARP, Neighbor
 * Discovery), answers for the stack's own addresses, and takes Ethernet headers off and on. `frames` is the side of the TAP
 * or packet socket, `packets` that of the stack.
 *
 * What neighbours say unasked is not believed: it never makes or replaces an address that is in use. Where it contradicts one,
 * the neighbour is asked at the address that is known, and only when that one is silent looked for anew.
 */
import { z } from 'zod';
import { ADDRESS_ROW } from '../../engine/address-book.ts';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../../engine/app.ts';
import { checkOptions } from '../../engine/options.ts';
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { SECOND } from '../../engine/units.ts';
import { formatIpAt } from '../../packet/address.ts';
import * as arp from '../../packet/arp.ts';
import * as ethernet from '../../packet/ethernet.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { broadcastOf, formatMac, type IpPrefix, parseMac } from '../../packet/prefix.ts';
import { Problem } from '../../packet/problem.ts';
import { EtherType, Protocol } from '../../packet/protocol.ts';
import { Verdict, verifyTransport } from '../../packet/transport.ts';
import { checkOwnAddress } from '../options.ts';
import {
  ARP_FRAME,
  groupMac,
  ND_FRAME,
  writeAdvertisement,
  writeArp,
  writeHeader,
  writeSolicitation,
} from './messages.ts';
import { NeighbourDrop } from './reasons.ts';
import { NeighbourTable, NONE, State } from './table.ts';

/** RFC 4861, 10. */
const REACHABLE = 30 * SECOND;
const RETRANSMIT = SECOND;
const DELAY = 5 * SECOND;
const TRIES = 3;
/** RFC 5227, 2.4: an address is defended once in so long. */
const DEFEND = 10 * SECOND;
const MOST_WAITING = 256;
const MOST_LARGE = 16;

const schema = z.strictObject({
  /** Link-layer address. Default: one that is made up. */
  mac: z.string().optional(),
  /** The stack's addresses on this link, as the stack has them: `10.0.0.2/24`, `fe80::2/64`. */
  addresses: z.array(z.string()).max(64).default([]),
  /** Packets that wait for one neighbour. */
  queue: z.number().int().min(1).max(64).default(16),
});
export type NeighboursOptions = z.input<typeof schema>;

const checkNeighbours = (options: NeighboursOptions) => {
  const checked = checkOptions(schema, options);
  if (checked.mac !== undefined) parseMac(checked.mac);
  checked.addresses.forEach((text) => {
    checkOwnAddress(text);
  });
  return checked;
};

export class Neighbours implements App {
  readonly inputs = ['frames', 'packets'];
  readonly outputs = ['frames', 'packets'];
  readonly layers: Readonly<Record<string, Layer>> = { frames: 'L2', packets: 'L3' };
  readonly paths = { frames: ['packets'], packets: ['frames'] };
  readonly superframes = true;
  readonly limits = { packets: MOST_WAITING, superframes: MOST_LARGE };
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly #options: z.output<typeof schema>;
  #own: readonly IpPrefix[];
  #broadcasts: readonly Uint8Array[] = [];
  #mac = new Uint8Array(6);
  #context: AppContext | undefined;
  #pool!: Pool;
  #table!: NeighbourTable;
  #ports: Ports | undefined;
  #announce = true;
  #defended = Number.NEGATIVE_INFINITY;
  readonly #address = new Uint8Array(16);
  readonly #group = new Uint8Array(6);
  #asked = 0;
  #answered = 0;
  #conflicts = 0;

  constructor(options: NeighboursOptions = {}) {
    this.#options = checkNeighbours(options);
    this.#own = this.#options.addresses.map(checkOwnAddress);
    this.#learnBroadcasts();
  }

  /** Its link-layer address, once it is open. */
  get mac(): string {
    return formatMac(this.#mac);
  }

  /** The addresses that it answers for, as the stack has them. @throws ERR_ADDRESS, ERR_CONFIG */
  setAddresses(addresses: readonly string[]): void {
    this.#own = addresses.map(checkOwnAddress);
    this.#learnBroadcasts();
    this.#announce = true;
    this.#context?.wake();
  }

  #learnBroadcasts(): void {
    const four = this.#own.filter(({ address, length }) => address.family === 4 && length <= 30);
    this.#broadcasts = four.map((own) => broadcastOf(own).bytes);
  }

  open(context: AppContext): void {
    this.#context = context;
    this.#pool = context.pool;
    const secret = context.runtime.secret(10);
    this.#mac = this.#options.mac === undefined ? secret.slice(0, 6) : parseMac(this.#options.mac).slice();
    // Locally administered, for one station.
    if (this.#options.mac === undefined) this.#mac[0] = (this.#mac[0] & 0xfc) | 2;
    const seed = (secret[6] << 24) | (secret[7] << 16) | (secret[8] << 8) | secret[9];
    this.#table = new NeighbourTable(context.pool, seed, MOST_WAITING, this.#options.queue);
  }

  /** It pays for the frames it makes, which is what makes it a source. */
  pull(): boolean {
    return false;
  }

  push(ports: Ports): void {
    this.#ports = ports;
    if (this.#announce) this.#announceAll();
    const { frames, packets } = ports.input;
    for (let n = frames.waiting; n > 0; n--) this.#frame(frames.take(), ports);
    for (let n = packets.waiting; n > 0; n--) this.#packet(packets.take(), ports.now);
    if (this.due[0] <= ports.now) this.#timers(ports.now);
  }

  // ── From the link.

  #frame(frame: number, ports: Ports): void {
    const pool = this.#pool;
    const { slab } = pool;
    const at = pool.offset[frame];
    const end = at + pool.length[frame];
    if (ethernet.check(slab, at, end) !== Problem.None || !this.#isMine(at)) {
      pool.drop(frame, NeighbourDrop.Frame);
      return;
    }
    const type = ethernet.etherType(slab, at);
    if (type === EtherType.Arp) {
      this.#settle(frame, this.#arp(at, end, ports.now));
      return;
    }
    if (type !== EtherType.Ipv4 && type !== EtherType.Ipv6) {
      pool.drop(frame, NeighbourDrop.EtherType);
      return;
    }
    const ip = at + ethernet.HEADER;
    const family = type === EtherType.Ipv4 ? 4 : 6;
    if (end === ip || slab[ip] >> 4 !== family) {
      pool.drop(frame, NeighbourDrop.EtherType);
      return;
    }
    if (family === 6 && isNd(slab, ip, end)) {
      this.#settle(frame, this.#nd(ip, end, ports.now));
      return;
    }
    if (ethernet.isMulticast(slab, at) && !this.#isForMany(ip, end, family)) {
      pool.drop(frame, NeighbourDrop.GroupFrame);
      return;
    }
    pool.offset[frame] = ip;
    pool.length[frame] -= ethernet.HEADER;
    pool.layer[frame] = 3;
    pool.l3Offset[frame] = 0;
    if (pool.checksumStart[frame] >= 0) pool.checksumStart[frame] -= ethernet.HEADER;
    ports.output.packets.put(frame);
  }

  /** Ends a message of discovery: 0 was of use, else why it was not. */
  #settle(frame: number, why: number): void {
    if (why === 0) this.#pool.free(frame);
    else this.#pool.drop(frame, why);
  }

  #isMine(at: number): boolean {
    const { slab } = this.#pool;
    // A group is nobody's source.
    if ((slab[at + ethernet.SOURCE] & 1) !== 0) return false;
    return ethernet.isMulticast(slab, at) || sameAt(slab, at, this.#mac, 0, 6);
  }

  #isForMany(ip: number, end: number, family: 4 | 6): boolean {
    const { slab } = this.#pool;
    if (family === 6) return ip + ipv6.HEADER > end || slab[ip + ipv6.DESTINATION] === 0xff;
    return ip + ipv4.HEADER > end || this.#isGroup4(slab, ip + ipv4.DESTINATION);
  }

  #isGroup4(bytes: Uint8Array, at: number): boolean {
    if (bytes[at] >= 224) return true;
    for (let i = 0; i < this.#broadcasts.length; i++)
      if (sameAt(bytes, at, this.#broadcasts[i], 0, 4)) return true;
    return false;
  }

  /** The own address at `bytes[at]`, or undefined. */
  #ownAt(bytes: Uint8Array, at: number, size: number): Uint8Array | undefined {
    for (const { address } of this.#own)
      if (address.bytes.length === size && sameAt(bytes, at, address.bytes, 0, size)) return address.bytes;
    return undefined;
  }

  #arp(at: number, end: number, now: number): number {
    const { slab } = this.#pool;
    const header = at + ethernet.HEADER;
    if (arp.check(slab, header, end) !== Problem.None) return NeighbourDrop.Discovery;
    const operation = arp.operation(slab, header);
    const mac = header + arp.SENDER_MAC;
    const sender = header + arp.SENDER_IP;
    // Who says one thing in the frame's header and another in the message lies.
    if (!sameAt(slab, mac, slab, at + ethernet.SOURCE, 6)) return NeighbourDrop.Discovery;
    if (this.#ownAt(slab, sender, 4)) return this.#conflict(sender, 4, now);
    const target = this.#ownAt(slab, header + arp.TARGET_IP, 4);
    if (operation === arp.Operation.Request) {
      if (!target) return this.#hint(slab, sender, 4, mac, now) ? 0 : NeighbourDrop.Unasked;
      // A probe (RFC 5227, 1.1) has no sender to remember.
      const probe = slab[sender] === 0;
      if (!probe) this.#heard(sender, 4, mac, now);
      this.#replyArp(target, slab.slice(sender, sender + 4), slab.slice(mac, mac + 6));
      return 0;
    }
    if (operation !== arp.Operation.Reply || slab[sender] === 0) return NeighbourDrop.Discovery;
    if (target && !ethernet.isMulticast(slab, at)) return this.#answer(sender, 4, mac, now);
    return this.#hint(slab, sender, 4, mac, now) ? 0 : NeighbourDrop.Unasked;
  }

  #replyArp(own: Uint8Array, target: Uint8Array, to: Uint8Array): void {
    this.#answered++;
    const frame = this.#make(ARP_FRAME);
    if (frame < 0) return;
    const into = this.#pool.offset[frame];
    writeArp(this.#pool.slab, into, arp.Operation.Reply, this.#mac, own, target, to);
    this.#put(frame);
  }

  /** RFC 4861, 7.1: what is not valid is dropped. */
  #nd(ip: number, end: number, now: number): number {
    const { slab } = this.#pool;
    if (ipv6.check(slab, ip, end) !== Problem.None) return NeighbourDrop.Discovery;
    const message = ip + ipv6.HEADER;
    const stop = ipv6.packetEnd(slab, ip);
    const type = slab[message];
    const wellFormed =
      ipv6.hopLimit(slab, ip) === 255 &&
      icmpv6.check(slab, message, stop) === Problem.None &&
      slab[message + 1] === 0 &&
      verifyTransport(slab, ip) === Verdict.Right;
    if (!wellFormed) return NeighbourDrop.Discovery;
    const target = message + icmpv6.TARGET;
    if (type === icmpv6.Type.NeighborSolicitation) return this.#solicited(ip, target, stop, now);
    if (type !== icmpv6.Type.NeighborAdvertisement || slab[target] === 0xff) return NeighbourDrop.Discovery;
    if (this.#ownAt(slab, target, 16)) return this.#conflict(target, 6, now);
    const link = icmpv6.ndOption(slab, message, stop, icmpv6.NdOption.TargetLinkAddress);
    if (link < 0 || (slab[link] & 1) !== 0) return NeighbourDrop.Discovery;
    const solicited = (slab[message + 4] & 0x40) !== 0 && slab[ip + ipv6.DESTINATION] !== 0xff;
    if (solicited) return this.#answer(target, 6, link, now);
    return this.#hint(slab, target, 6, link, now) ? 0 : NeighbourDrop.Unasked;
  }

  #solicited(ip: number, target: number, stop: number, now: number): number {
    const { slab } = this.#pool;
    const message = ip + ipv6.HEADER;
    const own = this.#ownAt(slab, target, 16);
    if (!own) return NeighbourDrop.Unasked;
    const source = ip + ipv6.SOURCE;
    const link = icmpv6.ndOption(slab, message, stop, icmpv6.NdOption.SourceLinkAddress);
    this.#answered++;
    const frame = this.#make(ND_FRAME);
    if (frame < 0) return Reason.NoMemory;
    const into = this.#pool.offset[frame];
    if (isZero(slab, source, 16)) {
      // Somebody finds out whether the address is taken (RFC 4862, 5.4.3): it is.
      writeAdvertisement(slab, into, this.#mac, own, undefined, undefined);
    } else {
      if (link >= 0 && (slab[link] & 1) === 0) this.#heard(source, 6, link, now);
      const to = slab.slice(
        ip - ethernet.HEADER + ethernet.SOURCE,
        ip - ethernet.HEADER + ethernet.SOURCE + 6,
      );
      writeAdvertisement(slab, into, this.#mac, own, slab.slice(source, source + 16), to);
    }
    this.#put(frame);
    return 0;
  }

  // ── What is learnt.

  /** An answer to a question that was asked: the first counts. */
  #answer(at: number, family: 4 | 6, mac: number, now: number): number {
    const { slab } = this.#pool;
    const table = this.#table;
    const row = table.find(slab, at, family);
    if (row === NONE) return NeighbourDrop.Unasked;
    const state = table.state[row];
    const asked = state === State.Incomplete || state === State.Probe;
    if (!asked) return this.#hint(slab, at, family, mac, now) ? 0 : NeighbourDrop.Unasked;
    if (state === State.Probe && !sameAt(slab, mac, table.mac, row * 6, 6)) return NeighbourDrop.Unasked;
    for (let i = 0; i < 6; i++) table.mac[row * 6 + i] = slab[mac + i];
    table.state[row] = State.Reachable;
    table.deadline[row] = now + REACHABLE;
    table.tries[row] = 0;
    this.#release(row);
    return 0;
  }

  /** A neighbour that wants to speak to this host says where it is: believed where nothing is known. */
  #heard(at: number, family: 4 | 6, mac: number, now: number): void {
    const { slab } = this.#pool;
    const table = this.#table;
    let row = table.find(slab, at, family);
    if (row !== NONE && table.state[row] !== State.Incomplete) {
      this.#hint(slab, at, family, mac, now);
      return;
    }
    if (row === NONE) row = table.insert(slab, at, family, now);
    for (let i = 0; i < 6; i++) table.mac[row * 6 + i] = slab[mac + i];
    table.state[row] = State.Stale;
    table.deadline[row] = Number.POSITIVE_INFINITY;
    this.#release(row);
  }

  /** Something unasked about a neighbour. When it contradicts what is known, that is asked about. Whether it is known. */
  #hint(bytes: Uint8Array, at: number, family: 4 | 6, mac: number, now: number): boolean {
    const table = this.#table;
    const row = table.find(bytes, at, family);
    if (row === NONE || table.state[row] === State.Incomplete) return false;
    if (sameAt(bytes, mac, table.mac, row * 6, 6)) return true;
    if (table.state[row] !== State.Probe) this.#probe(row, now);
    return true;
  }

  /** Another station has one of this host's addresses (RFC 5227, 2.4 b; RFC 4862, 5.4.4). */
  #conflict(at: number, family: 4 | 6, now: number): number {
    const { slab } = this.#pool;
    this.#conflicts++;
    const address = formatIpAt(slab, at, family);
    if (now - this.#defended >= DEFEND) {
      this.#defended = now;
      this.#context!.emit({ type: 'address-conflict', address });
      this.#announceOne(slab.slice(at, at + (family === 4 ? 4 : 16)));
    }
    return NeighbourDrop.Unasked;
  }

  // ── To the link.

  #packet(packet: number, now: number): void {
    const pool = this.#pool;
    const { slab } = pool;
    const at = pool.offset[packet];
    const family = slab[at] >> 4 === 4 ? 4 : 6;
    const peer = pool.peer[packet];
    const bytes = peer >= 0 ? pool.addresses.rows : slab;
    const to = peer >= 0 ? peer * ADDRESS_ROW + 4 : at + (family === 4 ? ipv4.DESTINATION : ipv6.DESTINATION);
    if (family === 4 ? this.#isGroup4(bytes, to) : bytes[to] === 0xff) {
      if (family === 4 && (bytes[to] < 224 || bytes[to] >= 240)) this.#group.fill(0xff);
      else groupMac(bytes, to, family, this.#group, 0);
      this.#send(packet, this.#group, 0);
      return;
    }
    const table = this.#table;
    let row = table.find(bytes, to, family);
    if (row === NONE) {
      row = table.insert(bytes, to, family, now);
      table.state[row] = State.Incomplete;
      table.keep(row, packet);
      this.#ask(row, now);
      return;
    }
    table.use(row, now);
    const state = table.state[row];
    if (state === State.Incomplete) {
      table.keep(row, packet);
      return;
    }
    if (state === State.Stale || (state === State.Reachable && table.deadline[row] <= now)) {
      table.state[row] = State.Delay;
      this.#schedule(row, now + DELAY);
    }
    this.#send(packet, table.mac, row * 6);
  }

  #send(packet: number, mac: Uint8Array, macAt: number): void {
    const pool = this.#pool;
    if (!pool.own(packet) || pool.headroom(packet) < ethernet.HEADER) {
      pool.drop(packet, Reason.NoMemory);
      return;
    }
    const at = pool.offset[packet] - ethernet.HEADER;
    const type = pool.slab[pool.offset[packet]] >> 4 === 4 ? EtherType.Ipv4 : EtherType.Ipv6;
    writeHeader(pool.slab, at, mac, macAt, this.#mac, type);
    pool.offset[packet] = at;
    pool.length[packet] += ethernet.HEADER;
    pool.layer[packet] = 2;
    pool.l3Offset[packet] = ethernet.HEADER;
    if (pool.checksumStart[packet] >= 0) pool.checksumStart[packet] += ethernet.HEADER;
    this.#put(packet);
  }

  #put(frame: number): void {
    this.#ports!.output.frames.put(frame);
  }

  #make(length: number): number {
    const pool = this.#pool;
    const frame = pool.alloc(this.#context!.account);
    if (frame < 0) {
      pool.countDrops(Reason.NoMemory, 1);
      return -1;
    }
    pool.length[frame] = length;
    pool.layer[frame] = 2;
    pool.l3Offset[frame] = ethernet.HEADER;
    return frame;
  }

  /** What waited for a neighbour leaves. */
  #release(row: number): void {
    const table = this.#table;
    for (let packet = table.take(row); packet !== NONE; packet = table.take(row))
      this.#send(packet, table.mac, row * 6);
  }

  #probe(row: number, now: number): void {
    this.#table.state[row] = State.Probe;
    this.#table.tries[row] = 0;
    this.#ask(row, now);
  }

  /** Asks for a neighbour: everybody, or in Probe the one that is known. */
  #ask(row: number, now: number): void {
    const table = this.#table;
    table.tries[row]++;
    this.#schedule(row, now + RETRANSMIT);
    this.#asked++;
    const family = table.family(row);
    table.address(row, this.#address, 0);
    const target = this.#address.slice(0, family === 4 ? 4 : 16);
    const source = this.#sourceFor(row, family, target);
    const to = table.state[row] === State.Probe ? table.mac.slice(row * 6, row * 6 + 6) : undefined;
    // Without an IPv6 address nothing can be asked; ARP has a probe for that.
    const frame = source || family === 4 ? this.#make(family === 4 ? ARP_FRAME : ND_FRAME) : -1;
    if (frame < 0) return;
    const { slab, offset } = this.#pool;
    if (family === 4)
      writeArp(slab, offset[frame], arp.Operation.Request, this.#mac, source ?? NO_ADDRESS, target, to);
    else writeSolicitation(slab, offset[frame], this.#mac, source!, target, to);
    this.#put(frame);
  }

  /** RFC 4861, 7.2.2: the source of the packet that waits, if it is an own one; else one of the same link. */
  #sourceFor(row: number, family: 4 | 6, target: Uint8Array): Uint8Array | undefined {
    const size = family === 4 ? 4 : 16;
    const waits = this.#table.first(row);
    if (waits !== NONE) {
      const { slab, offset } = this.#pool;
      const at = offset[waits] + (family === 4 ? ipv4.SOURCE : ipv6.SOURCE);
      const own = this.#ownAt(slab, at, size);
      if (own) return own;
    }
    const all = this.#own.filter(({ address }) => address.family === family);
    const near = all.find(({ address, length }) => samePrefix(address.bytes, target, length));
    return (near ?? all[0])?.address.bytes;
  }

  // ── Time.

  #schedule(row: number, time: number): void {
    this.#table.deadline[row] = time;
    this.due[0] = Math.min(this.due[0], time);
  }

  #timers(now: number): void {
    const table = this.#table;
    this.due[0] = Number.POSITIVE_INFINITY;
    for (let row = 0; row < table.rows; row++) {
      const state = table.state[row];
      if (state !== State.Incomplete && state !== State.Delay && state !== State.Probe) continue;
      if (table.deadline[row] > now) {
        this.due[0] = Math.min(this.due[0], table.deadline[row]);
      } else if (state === State.Delay) {
        this.#probe(row, now);
      } else if (table.tries[row] < TRIES) {
        this.#ask(row, now);
      } else {
        table.remove(row, NeighbourDrop.Unreachable);
      }
    }
  }

  /** Tells the link that the own addresses are here (RFC 5227, 2.3; RFC 4861, 7.2.6). */
  #announceAll(): void {
    this.#announce = false;
    for (const { address } of this.#own) this.#announceOne(address.bytes);
  }

  #announceOne(own: Uint8Array): void {
    const isV4 = own.length === 4;
    const frame = this.#make(isV4 ? ARP_FRAME : ND_FRAME);
    if (frame < 0) return;
    const { slab, offset } = this.#pool;
    if (isV4) writeArp(slab, offset[frame], arp.Operation.Request, this.#mac, own, own, undefined);
    else writeAdvertisement(slab, offset[frame], this.#mac, own, undefined, undefined);
    this.#put(frame);
  }

  held(): number {
    return this.#table?.waiting ?? 0;
  }

  report(): AppReport {
    let known = 0;
    if (this.#context) for (const state of this.#table.state) if (state !== State.Free) known++;
    return {
      mac: this.mac,
      neighbours: known,
      waiting: this.held(),
      asked: this.#asked,
      answered: this.#answered,
      conflicts: this.#conflicts,
    };
  }

  close(): void {
    this.#table?.clear();
  }
}

const NO_ADDRESS = new Uint8Array(4);

/** Whether an IPv6 packet is Neighbor Discovery without extension headers: with them it is not to be believed (RFC 6980). */
function isNd(bytes: Uint8Array, ip: number, end: number): boolean {
  if (ip + ipv6.HEADER >= end || bytes[ip + ipv6.NEXT_HEADER] !== Protocol.Icmpv6) return false;
  return icmpv6.isNd(bytes[ip + ipv6.HEADER]);
}

function sameAt(a: Uint8Array, at: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[at + i] !== b[bAt + i]) return false;
  return true;
}

function isZero(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== 0) return false;
  return true;
}

function samePrefix(a: Uint8Array, b: Uint8Array, length: number): boolean {
  for (let bit = 0; bit < length; bit += 8)
    if ((a[bit >> 3] ^ b[bit >> 3]) >> (8 - Math.min(8, length - bit)) !== 0) return false;
  return true;
}

export const neighbours = defineApp<NeighboursOptions, z.output<typeof schema>>({
  module: import.meta.url,
  export: 'neighbours',
  check: checkNeighbours,
  create: (options) => new Neighbours(options),
});
