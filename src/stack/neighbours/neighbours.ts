/**
 * Between a link of Ethernet frames and a stack: it finds the link-layer addresses of neighbours (ARP, Neighbor
 * Discovery), answers for the stack's own addresses, and takes Ethernet headers off and on. `frames` is the side of the TAP
 * or packet socket, `packets` that of the stack.
 *
 * What neighbours say unasked is not believed: it never makes or replaces an address that is in use. Where it contradicts one,
 * the neighbour is asked at the address that is known, and only when that one is silent looked for anew.
 */
import { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Limits,
  type Ports,
} from '../../engine/app.ts';
import { checkOptions } from '../../engine/options.ts';
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { formatIpAt, parseIp } from '../../packet/address.ts';
import * as arp from '../../packet/arp.ts';
import * as ethernet from '../../packet/ethernet.ts';
import * as icmpv6 from '../../packet/icmpv6.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { formatMac, type IpPrefix, parseMac } from '../../packet/prefix.ts';
import { Problem } from '../../packet/problem.ts';
import { EtherType, Protocol } from '../../packet/protocol.ts';
import { Verdict, verifyTransport } from '../../packet/transport.ts';
import { checkOwnAddress } from '../options.ts';
import { ARP_FRAME, ND_FRAME, sameAt, writeAdvertisement, writeArp } from './messages.ts';
import { AddressProbes } from './probes.ts';
import { NeighbourDrop } from './reasons.ts';
import { Resolution } from './resolution.ts';
import { Station } from './station.ts';
import { NeighbourTable, State } from './table.ts';

/** RFC 5227, 2.4: an address is defended once in so long. */
const DEFEND = 10 * SECOND;
const MOST_LARGE = 16;

const schema = z.strictObject({
  /** Link-layer address. Default: one that is made up. */
  mac: z.string().optional(),
  /** The stack's addresses on this link, as the stack has them: `10.0.0.2/24`, `fe80::2/64`. */
  addresses: z.array(z.string()).max(64).default([]),
  /** Packets that wait for one neighbour. */
  queue: z.number().int().min(1).max(64).default(16),
  /** Packets that wait for all of them together. */
  waiting: z.number().int().min(1).max(65_536).default(256),
  /** Whether superframes may be among them. */
  superframes: z.boolean().default(true),
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
  readonly limits: Limits;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  readonly #options: z.output<typeof schema>;
  #own: readonly IpPrefix[];
  #context: AppContext | undefined;
  #pool!: Pool;
  #station!: Station;
  #resolution!: Resolution;
  #probes!: AddressProbes;
  /** When own addresses were defended: ns. */
  readonly #defended = new Map<string, number>();
  #answered = 0;
  #conflicts = 0;

  /**
   * Another station claims an own address within ten seconds after it was defended. An address that can be given up is then
   * (RFC 5227, 2.4 b); one that stays is defended again later.
   */
  onConflict: ((address: string) => void) | undefined;

  constructor(options: NeighboursOptions = {}) {
    this.#options = checkNeighbours(options);
    this.#own = this.#options.addresses.map(checkOwnAddress);
    const { waiting, superframes } = this.#options;
    this.limits = { packets: waiting, superframes: superframes ? Math.min(waiting, MOST_LARGE) : 0 };
  }

  /** Its link-layer address, once it is open. */
  get mac(): string {
    return this.#context ? formatMac(this.#station.mac) : '';
  }

  /** The addresses that it answers for, as the stack has them. @throws ERR_ADDRESS, ERR_CONFIG */
  setAddresses(addresses: readonly string[]): void {
    this.#own = addresses.map(checkOwnAddress);
    const kept = new Set(this.#own.map(({ address }) => formatIpAt(address.bytes, 0, address.family)));
    for (const address of this.#defended.keys()) if (!kept.has(address)) this.#defended.delete(address);
    if (!this.#context) return;
    this.#station.setOwn(this.#own);
    this.#context.wake();
  }

  /**
   * Finds out whether another station has an IPv4 address, or is about to take it (RFC 5227, 2.1.1). That nobody does is known
   * after 4 to 7 s.
   *
   * @param done called once, never from within this call
   * @returns what ends it without a word
   * @throws ERR_ADDRESS, ERR_CLOSED before the network runs, ERR_LIMIT
   */
  probe(address: string, done: (taken: boolean) => void): () => void {
    const { bytes, family } = parseIp(address);
    if (family !== 4) throw new TunconnectorError('ERR_ADDRESS', `${address} is not an IPv4 address`);
    if (!this.#context) throw new TunconnectorError('ERR_CLOSED', 'the network does not run');
    const end = this.#probes.start(bytes, this.#context.runtime.now(), done);
    this.#context.wake();
    return end;
  }

  open(context: AppContext): void {
    this.#context = context;
    this.#pool = context.pool;
    const secret = context.runtime.secret(10);
    const mac = this.#options.mac === undefined ? secret.slice(0, 6) : parseMac(this.#options.mac).slice();
    // Locally administered, for one station.
    if (this.#options.mac === undefined) mac[0] = (mac[0] & 0xfc) | 2;
    const seed = (secret[6] << 24) | (secret[7] << 16) | (secret[8] << 8) | secret[9];
    const table = new NeighbourTable(context.pool, seed, this.#options.waiting, this.#options.queue);
    this.#station = new Station(context.pool, context.account, mac);
    this.#station.setOwn(this.#own);
    this.#resolution = new Resolution(this.#station, table, this.due);
    this.#probes = new AddressProbes(this.#station, () => {
      const [a, b] = context.runtime.secret(2);
      return ((a << 8) | b) / 0xffff;
    });
  }

  /** It pays for the frames it makes, which is what makes it a source. */
  pull(): boolean {
    return false;
  }

  push(ports: Ports): void {
    this.#station.output = ports.output.frames;
    if (this.#station.silent) this.#station.announceAll();
    const { frames, packets } = ports.input;
    for (let n = frames.waiting; n > 0; n--) this.#frame(frames.take(), ports);
    for (let n = packets.waiting; n > 0; n--) this.#resolution.packet(packets.take(), ports.now);
    if (this.due[0] <= ports.now) this.#resolution.timers(ports.now);
    if (this.#probes.due <= ports.now) this.#probes.run(ports.now);
    if (this.#probes.due < this.due[0]) this.due[0] = this.#probes.due;
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
    return ethernet.isMulticast(slab, at) || sameAt(slab, at, this.#station.mac, 0, 6);
  }

  #isForMany(ip: number, end: number, family: 4 | 6): boolean {
    const { slab } = this.#pool;
    if (family === 6) return ip + ipv6.HEADER > end || slab[ip + ipv6.DESTINATION] === 0xff;
    return ip + ipv4.HEADER > end || this.#station.isGroup4(slab, ip + ipv4.DESTINATION);
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
    // A link that gives back what was sent: no other station.
    if (sameAt(slab, mac, this.#station.mac, 0, 6)) return NeighbourDrop.Unasked;
    if (this.#probes.heard(slab, header)) return 0;
    if (this.#station.ownAt(slab, sender, 4)) return this.#conflict(sender, 4, now);
    const asked = header + arp.TARGET_IP;
    const target = this.#station.ownAt(slab, asked, 4);
    if (operation === arp.Operation.Request) {
      if (!target) return this.#resolution.hint(slab, sender, 4, mac, now) ? 0 : NeighbourDrop.Unasked;
      // A probe (RFC 5227, 1.1) has no sender to remember.
      const probe = slab[sender] === 0;
      if (!probe) this.#resolution.heard(sender, 4, mac, now);
      this.#replyArp(target, slab.slice(sender, sender + 4), slab.slice(mac, mac + 6));
      return 0;
    }
    if (operation !== arp.Operation.Reply || slab[sender] === 0) return NeighbourDrop.Discovery;
    // Who has no address asks in the name of nobody, and that is who is answered.
    const toMe = (target || isZero(slab, asked, 4)) && !ethernet.isMulticast(slab, at);
    if (toMe) return this.#resolution.answer(sender, 4, mac, now);
    return this.#resolution.hint(slab, sender, 4, mac, now) ? 0 : NeighbourDrop.Unasked;
  }

  #replyArp(own: Uint8Array, target: Uint8Array, to: Uint8Array): void {
    this.#answered++;
    const frame = this.#station.make(ARP_FRAME);
    if (frame < 0) return;
    const into = this.#pool.offset[frame];
    writeArp(this.#pool.slab, into, arp.Operation.Reply, this.#station.mac, own, target, to);
    this.#station.put(frame);
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
    if (this.#station.ownAt(slab, target, 16)) return this.#conflict(target, 6, now);
    const link = icmpv6.ndOption(slab, message, stop, icmpv6.NdOption.TargetLinkAddress);
    if (link < 0 || (slab[link] & 1) !== 0) return NeighbourDrop.Discovery;
    const solicited = (slab[message + 4] & 0x40) !== 0 && slab[ip + ipv6.DESTINATION] !== 0xff;
    if (solicited) return this.#resolution.answer(target, 6, link, now);
    return this.#resolution.hint(slab, target, 6, link, now) ? 0 : NeighbourDrop.Unasked;
  }

  #solicited(ip: number, target: number, stop: number, now: number): number {
    const { slab } = this.#pool;
    const message = ip + ipv6.HEADER;
    const own = this.#station.ownAt(slab, target, 16);
    if (!own) return NeighbourDrop.Unasked;
    const source = ip + ipv6.SOURCE;
    const link = icmpv6.ndOption(slab, message, stop, icmpv6.NdOption.SourceLinkAddress);
    this.#answered++;
    const frame = this.#station.make(ND_FRAME);
    if (frame < 0) return Reason.NoMemory;
    const into = this.#pool.offset[frame];
    if (isZero(slab, source, 16)) {
      // Somebody finds out whether the address is taken (RFC 4862, 5.4.3): it is.
      writeAdvertisement(slab, into, this.#station.mac, own, undefined, undefined);
    } else {
      if (link >= 0 && (slab[link] & 1) === 0) this.#resolution.heard(source, 6, link, now);
      const to = slab.slice(
        ip - ethernet.HEADER + ethernet.SOURCE,
        ip - ethernet.HEADER + ethernet.SOURCE + 6,
      );
      writeAdvertisement(slab, into, this.#station.mac, own, slab.slice(source, source + 16), to);
    }
    this.#station.put(frame);
    return 0;
  }

  /** Another station has one of this host's addresses (RFC 5227, 2.4 b; RFC 4862, 5.4.4). */
  #conflict(at: number, family: 4 | 6, now: number): number {
    const { slab } = this.#pool;
    this.#conflicts++;
    const address = formatIpAt(slab, at, family);
    const defended = this.#defended.get(address) ?? Number.NEGATIVE_INFINITY;
    if (now - defended >= DEFEND) {
      this.#defended.set(address, now);
      this.#context!.emit({ type: 'address-conflict', address });
      this.#station.announceOne(slab.slice(at, at + (family === 4 ? 4 : 16)));
    } else this.onConflict?.(address);
    return NeighbourDrop.Unasked;
  }

  held(): number {
    return this.#resolution?.table.waiting ?? 0;
  }

  report(): AppReport {
    let known = 0;
    if (this.#context) for (const state of this.#resolution.table.state) if (state !== State.Free) known++;
    return {
      mac: this.mac,
      neighbours: known,
      waiting: this.held(),
      asked: this.#resolution?.asked ?? 0,
      answered: this.#answered,
      conflicts: this.#conflicts,
      probes: this.#probes?.sent ?? 0,
    };
  }

  close(): void {
    this.#resolution?.table.clear();
    this.#probes?.clear();
  }
}

/** Whether an IPv6 packet is Neighbor Discovery without extension headers: with them it is not to be believed (RFC 6980). */
function isNd(bytes: Uint8Array, ip: number, end: number): boolean {
  if (ip + ipv6.HEADER >= end || bytes[ip + ipv6.NEXT_HEADER] !== Protocol.Icmpv6) return false;
  return icmpv6.isNd(bytes[ip + ipv6.HEADER]);
}

function isZero(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== 0) return false;
  return true;
}

export const neighbours = defineApp<NeighboursOptions, z.output<typeof schema>>({
  module: import.meta.url,
  export: 'neighbours',
  check: checkNeighbours,
  create: (options) => new Neighbours(options),
});
