/**
 * An end of service chains: where packets of unmodified hosts come in, and where they leave.
 *
 *   inside -> outside    the flow is looked up, or (at an ingress) classified and placed; its prefix goes in front of the packet,
 *                        which leaves for the first replica of its path
 *   outside -> inside    the prefix is checked and taken off, the flow's path is learned from it, the packet is delivered
 *
 * Nobody is asked on the way: the registry is in tables that the control half keeps up to date. An egress sends the replies back
 * the way the flow came.
 */
import type { AddressBook } from '../../engine/address-book.ts';
import { type App, type AppContext, type AppReport, defineApp, type Ports } from '../../engine/app.ts';
import { IcmpReplies } from '../../engine/icmp-replies.ts';
import type { Link } from '../../engine/link.ts';
import { checkOptions } from '../../engine/options.ts';
import type { Pool } from '../../engine/pool.ts';
import { PacketFlag } from '../../native/binding.ts';
import { ecnOf } from '../../packet/ecn.ts';
import * as ip from '../../packet/ip.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import * as nsh from '../../packet/nsh.ts';
import { Problem } from '../../packet/problem.ts';
import { decrementTtl } from '../../packet/ttl.ts';
import * as udp from '../../packet/udp.ts';
import { copyBytes } from '../../packet/word.ts';
import { takeEcn } from '../../tunnel/decapsulate.ts';
import { roomForPieces, wireLength } from '../../tunnel/encapsulate.ts';
import { prefixes } from '../../tunnel/options.ts';
import { Classifier, NO_RULE, UNTAGGED } from '../classifier/classifier.ts';
import { flowMatchSchema } from '../classifier/match.ts';
import { FlowKeys, UNKNOWN_DATAGRAM } from '../flow-keys.ts';
import { NONE } from '../flow-table.ts';
import { Fragments } from '../fragments.ts';
import { Answers } from '../hop/answers.ts';
import { Neighbours } from '../hop/neighbours.ts';
import type { ChainControlled, MemberNews } from '../member/control.ts';
import { ChainTables, NO_ROW, type RuleUpdate, type TableUpdate } from '../tables/index.ts';
import { ACCEPTED, ChainHeader } from '../wire/header.ts';
import { RETURN } from '../wire/prefix.ts';
import { CHOOSE, flowHigh, flowLow, replica, revision, START } from '../wire/tlv.ts';
import { Counts } from './counts.ts';
import { Bucket } from './limit.ts';
import { type CheckedEnd, type EndOptions, endSchema } from './options.ts';
import { Paths } from './paths.ts';
import { sendInPieces } from './pieces.ts';
import { EndDrop } from './reasons.ts';
import { Traces } from './traces.ts';

/** Flows that end in one breath, at most: the others in the next. */
const ENDINGS = 256;

export class End implements App, ChainControlled {
  readonly inputs = ['inside', 'outside', 'bypass'];
  readonly outputs = ['inside', 'outside', 'bypass'];
  readonly required = ['inside', 'outside'];
  readonly paths = { inside: ['outside', 'bypass'], outside: ['inside'], bypass: ['inside'] };
  readonly superframes = true;
  readonly layers = { inside: 'L3', bypass: 'L3', outside: 'datagram' } as const;
  readonly limits;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);

  readonly tables = new ChainTables();
  readonly #options: CheckedEnd;
  readonly #isIngress: boolean;
  readonly #placing: Paths;
  readonly #header = new ChainHeader();
  readonly #counts = new Counts();
  readonly #icmp: IcmpReplies;
  readonly #opening: Bucket;
  readonly #answers = new Answers();
  /** Of what this end sends to: the first stops of its flows. */
  readonly #neighbours: Neighbours;
  readonly #traces: Traces;
  /** Answers to probes from here. */
  #heard = 0;
  #fragments: Fragments;
  #keys: FlowKeys;
  #classifier = new Classifier([]);
  #addresses: AddressBook | undefined;
  #wake: (() => void) | undefined;
  /** Updates that came before the app was opened. */
  #early: TableUpdate[] = [];
  #expired = 0;
  onNews: (() => void) | undefined;

  constructor(options: CheckedEnd) {
    this.#options = options;
    this.#isIngress = options.role === 'ingress';
    this.limits = { packets: options.heldFragments, superframes: 0 };
    this.#placing = new Paths(this.tables, options);
    this.#placing.flows.onNews = () => this.onNews?.();
    this.#neighbours = new Neighbours(this.tables, options.tenant, options.encapsulation);
    this.#neighbours.onNews = () => this.onNews?.();
    this.#traces = new Traces(this.#placing);
    this.#icmp = new IcmpReplies(prefixes('addresses', options.addresses, true));
    this.#opening = new Bucket(options.newFlows, options.newFlowsBurst);
    this.#fragments = new Fragments({ held: options.heldFragments });
    this.#keys = new FlowKeys(this.#fragments, 0);
  }

  open({ pool, runtime, wake, emit }: AppContext): void {
    // Nobody who sends may know in which bucket a key is.
    const seeds = new Int32Array(runtime.secret(8).slice().buffer);
    this.#fragments = new Fragments({ held: this.#options.heldFragments, seed: seeds[0] });
    this.#keys = new FlowKeys(this.#fragments, seeds[1]);
    this.#addresses = pool.addresses;
    this.#wake = wake;
    this.#traces.emit = emit;
    for (const update of this.#early.splice(0)) this.update(update);
  }

  // ── The control half.

  update(update: TableUpdate): void {
    if (!this.#addresses) {
      if (update.whole) this.#early = [];
      this.#early.push(update);
      return;
    }
    this.tables.apply(update, this.#addresses);
    if (update.rules) this.#classifier = classifierOf(update.rules);
    else if (update.whole) this.#classifier = new Classifier([]);
    for (const flow of update.flows ?? []) this.#placing.adopt(flow);
    this.#wake?.();
  }

  takeNews(): MemberNews | undefined {
    const news = this.#placing.flows.take();
    const suspects = this.#neighbours.takeNews();
    return suspects ? { ...news, suspects } : news;
  }

  /**
   * Sends a probe along the path of a flow that is known here. Each hop that it passes, and the far end, sends it back, and is
   * told of as an event of the network: `{ type: 'hop', flow, position, replica, time, last }`, the time in ns since it was sent.
   *
   * @param id 16 hexadecimal digits
   * @returns the path: replica ids from this end to the other; undefined when there is no such flow, or too many are traced
   */
  trace(id: string): number[] | undefined {
    const path = this.#traces.ask(id);
    if (path) this.#wake?.();
    return path;
  }

  // ── Packets.

  push(ports: Ports): void {
    const { input, output, now } = ports;
    this.#placing.flows.table.now = now;
    this.#opening.refill(now);
    this.#answers.refill(now);
    this.#upkeep(ports);
    if (this.#options.probes) this.#neighbours.run(ports.pool, output.outside, now);
    this.#traces.send(ports, this.tables);
    for (let n = input.outside.waiting; n > 0; n--) this.#fromOutside(ports, input.outside.take());
    for (let n = input.inside.waiting; n > 0 && roomForPieces(output.outside); n--)
      this.#fromInside(ports, input.inside.take());
    if (input.bypass) input.bypass.moveTo(output.inside, input.bypass.waiting);
    this.due[0] = Math.min(
      this.#placing.flows.table.nextDeadline(),
      this.#fragments.nextDeadline(),
      this.tables.nextDeadline(),
      this.#neighbours.next[0],
    );
  }

  #upkeep({ pool, now }: Ports): void {
    if (now < this.due[0]) return;
    this.#expired += this.#placing.flows.expire(ENDINGS);
    this.tables.tick(now);
    for (let alone = this.#fragments.expire(now); alone !== NONE; alone = this.#fragments.expire(now))
      pool.drop(alone, EndDrop.Fragment);
  }

  #fromInside(ports: Ports, packet: number): void {
    const { pool, now } = ports;
    const at = pool.offset[packet];
    const end = at + pool.length[packet];
    if (ip.check(pool.slab, at, end) !== Problem.None) {
      pool.drop(packet, EndDrop.Malformed);
      return;
    }
    const fragments = this.#fragments;
    const { tenant } = this.#options;
    const direction = this.#keys.of(pool.slab, at, end, tenant, now);
    if (direction === UNKNOWN_DATAGRAM) {
      if (!fragments.hold(pool.slab, at, tenant, packet, now)) pool.drop(packet, EndDrop.Fragment);
      return;
    }
    if (direction < 0) {
      pool.drop(packet, EndDrop.NoKey);
      return;
    }
    this.#send(ports, packet, direction as 0 | 1, true);
    if (fragments.waiting === 0) return;
    for (let held = fragments.release(now); held !== NONE; held = fragments.release(now)) {
      const from = pool.offset[held];
      const way = this.#keys.of(pool.slab, from, from + pool.length[held], tenant, now);
      this.#send(ports, held, way as 0 | 1, true);
    }
  }

  /**
   * A packet whose flow's key was just read goes into the chain.
   * @param forwarded from elsewhere: it loses one of its TTL
   */
  #send(ports: Ports, packet: number, direction: 0 | 1, forwarded: boolean): void {
    const { pool, output } = ports;
    const { tables } = this;
    const { flows } = this.#placing;
    const { table } = flows;
    if (tables.own === CHOOSE) {
      pool.drop(packet, EndDrop.NotRegistered);
      return;
    }
    let row = table.find(this.#keys.key, this.#options.tenant);
    if (row !== NONE && flows.checked[row] !== tables.version && !this.#placing.check(row)) {
      flows.remove(row);
      row = NONE;
    }
    if (row === NONE) {
      row = this.#open(ports, packet, direction);
      if (row === NONE) return;
    } else {
      flows.seen(row);
    }
    const peer = tables.row(this.#placing.first(row));
    if (peer === NO_ROW) {
      pool.drop(packet, EndDrop.NoReplica);
      return;
    }
    if (forwarded && !this.#passes(ports, packet, output.inside)) return;
    const length = table.prefixLength[row];
    // Without room for the prefix in front of it the packet is shared or of somebody who leaves none: a copy has room.
    if (!pool.own(packet) || pool.headroom(packet) + pool.prefixLength[packet] < length) {
      pool.drop(packet, EndDrop.NoMemory);
      return;
    }
    const at = pool.offset[packet];
    copyBytes(table.prefixes, table.prefixAt(row), pool.slab, at - length, length);
    pool.prefixLength[packet] = length;
    pool.peer[packet] = peer;
    pool.trafficClass[packet] = ecnOf(pool.slab, at);
    const spi = table.servicePath[row] & ~RETURN;
    if (this.#options.probes) this.#neighbours.use(this.#placing.first(row), spi);
    this.#counts.add(spi, 0, pool.segments[packet], pool.length[packet]);
    this.#put(ports, packet, length);
  }

  /** Sends a packet that is ready, in pieces if it must be, or tells its sender that it is too long. */
  #put({ pool, output, now }: Ports, packet: number, prefix: number): void {
    const overhead = (this.tables.outer === 4 ? ipv4.HEADER : ipv6.HEADER) + udp.HEADER + prefix;
    const mtu = this.#options.mtu - overhead;
    const length = pool.length[packet] <= mtu ? pool.length[packet] : wireLength(pool, packet);
    const at = pool.offset[packet];
    if (length === 0) {
      pool.drop(packet, EndDrop.Malformed);
    } else if (length <= mtu) {
      output.outside.put(packet);
    } else if (ip.version(pool.slab, at) === 4 && !ipv4.dontFragment(pool.slab, at)) {
      sendInPieces(pool, packet, mtu, output.outside);
    } else if (ip.version(pool.slab, at) === 6 && length <= ipv6.MINIMUM_MTU) {
      // RFC 2473, 7.1 (b): what every IPv6 link has to carry is fragmented outside.
      pool.flags[packet] |= PacketFlag.MayFragment;
      output.outside.put(packet);
    } else {
      const told = ip.version(pool.slab, at) === 6 ? Math.max(mtu, ipv6.MINIMUM_MTU) : mtu;
      const reply = this.#icmp.tooBig(pool, packet, told, now);
      if (reply >= 0) output.inside.put(reply);
      pool.drop(packet, EndDrop.TooBig);
    }
  }

  /** The row of a flow that is new here, or NONE: then the packet has gone elsewhere. */
  #open({ pool, output }: Ports, packet: number, direction: 0 | 1): number {
    const { flows } = this.#placing;
    const { table } = flows;
    if (!this.#isIngress) {
      pool.drop(packet, EndDrop.NoFlow);
      return NONE;
    }
    const { key } = this.#keys;
    const { tenant } = this.#options;
    const at = pool.offset[packet];
    const dscp = ip.trafficClass(pool.slab, at) >> 2;
    const rule = this.#classifier.find(key, 0, tenant, direction, dscp, UNTAGGED);
    const spi = rule === NO_RULE ? null : this.#classifier.chain(rule);
    const chain = spi === null ? null : this.tables.newest(spi);
    if (chain === null) {
      if (spi === null && output.bypass.capacity > 0) output.bypass.put(packet);
      else pool.drop(packet, spi === null ? EndDrop.NoChain : EndDrop.Unknown);
      return NONE;
    }
    if (!this.#opening.take()) {
      pool.drop(packet, EndDrop.FlowRate);
      return NONE;
    }
    const row = table.add(key, tenant);
    if (this.#placing.open(row, chain, ip.version(pool.slab, at) === 6 ? 6 : 4)) return row;
    flows.remove(row);
    pool.drop(packet, EndDrop.Unknown);
    return NONE;
  }

  #fromOutside(ports: Ports, packet: number): void {
    const { pool, output } = ports;
    const header = this.#header;
    const from = pool.offset[packet] - pool.prefixLength[packet];
    const end = pool.offset[packet] + (pool.prefixLength[packet] > 0 ? 0 : pool.length[packet]);
    const problem = header.read(pool.slab, from, end, this.#options.encapsulation);
    if (problem !== ACCEPTED) {
      pool.drop(packet, problem);
      return;
    }
    if (header.family === 0) {
      this.#probe(ports, packet);
      return;
    }
    const refused = this.#refusal(pool, packet, header);
    if (refused !== 0) {
      pool.drop(packet, refused);
      return;
    }
    const wrong = this.#strip(pool, packet, header);
    if (wrong !== 0) {
      pool.drop(packet, wrong);
      return;
    }
    const spi = nsh.servicePath(pool.slab, header.nsh) & ~RETURN;
    this.#counts.add(spi, 1, pool.segments[packet], pool.length[packet]);
    this.#learn(ports, packet);
    if (this.#passes(ports, packet, null)) output.inside.put(packet);
  }

  /** One that asks whether this replica lives is answered to whoever asks, one of a path that ends here to the path's start. */
  #probe({ pool, output, now }: Ports, packet: number): void {
    const header = this.#header;
    const { slab } = pool;
    if (pool.prefixLength[packet] > 0) {
      pool.drop(packet, EndDrop.Probe);
      return;
    }
    if (header.path < 0) {
      if (this.#answers.answer(slab, header.nsh)) {
        output.outside.put(packet);
      } else {
        this.#answered(pool, packet);
      }
      return;
    }
    if (replica(slab, header.path, START) === this.tables.own) {
      if (this.tables.isMember(pool.peer[packet])) this.#traces.answered(slab, header, now);
      this.#answered(pool, packet);
      return;
    }
    const refused = this.#refusal(pool, packet, header);
    const asker = this.tables.row(replica(slab, header.path, START));
    if (refused !== 0 || asker === NO_ROW || !this.#answers.take()) {
      pool.drop(packet, refused === 0 ? EndDrop.Probe : refused);
      return;
    }
    pool.peer[packet] = asker;
    output.outside.put(packet);
  }

  /** An answer has done what it was for. What strangers say is dropped, and so are questions more than are answered. */
  #answered(pool: Pool, packet: number): void {
    const peer = pool.peer[packet];
    const { nsh: at, path } = this.#header;
    const isQuestion = path < 0 && nsh.ttl(pool.slab, at) === nsh.DEFAULT_TTL;
    if (isQuestion || !this.tables.isMember(peer)) {
      pool.drop(packet, EndDrop.Probe);
      return;
    }
    if (path < 0) this.#neighbours.answered(peer);
    this.#heard++;
    pool.free(packet);
  }

  /** Why a packet with a whole prefix is not for this end; 0: it is. */
  #refusal(pool: Pool, packet: number, header: ChainHeader): number {
    const { tables } = this;
    const { slab } = pool;
    if (!tables.isMember(pool.peer[packet])) return EndDrop.Stranger;
    const path = nsh.servicePath(slab, header.nsh);
    if (header.tenant !== this.#options.tenant) return EndDrop.Unknown;
    if (!tables.carries(path & ~RETURN, revision(slab, header.path))) return EndDrop.Unknown;
    if (((path & RETURN) !== 0) !== this.#isIngress || header.position !== header.functions)
      return EndDrop.Misdirected;
    const to = replica(slab, header.path, header.functions);
    return to === tables.own || to === CHOOSE ? 0 : EndDrop.Misdirected;
  }

  /** Makes the packet behind the prefix the packet. Returns 0, or the reason to drop it for. */
  #strip(pool: Pool, packet: number, header: ChainHeader): number {
    const { slab } = pool;
    const end = pool.offset[packet] + pool.length[packet];
    const at = header.end;
    if (pool.prefixLength[packet] > 0 && at !== pool.offset[packet]) return EndDrop.Malformed;
    if (ip.check(slab, at, end) !== Problem.None || ip.version(slab, at) !== header.family)
      return EndDrop.Malformed;
    pool.offset[packet] = at;
    // What lies behind the packet's own length is not part of it.
    pool.length[packet] = pool.segmentSize[packet] === 0 ? ip.totalLength(slab, at) : end - at;
    pool.prefixLength[packet] = 0;
    pool.layer[packet] = 3;
    pool.l3Offset[packet] = 0;
    pool.peer[packet] = -1;
    return 0;
  }

  /** What the prefix says of the flow, which replies will need. The prefix still stands in front of the packet. */
  #learn({ pool, now }: Ports, packet: number): void {
    const header = this.#header;
    const { slab } = pool;
    const { flows } = this.#placing;
    const { tenant } = this.#options;
    const at = pool.offset[packet];
    // Of a later fragment that overtook its first nothing is learned.
    if (this.#keys.of(slab, at, at + pool.length[packet], tenant, now) < 0) return;
    let row = flows.table.find(this.#keys.key, tenant);
    if (row === NONE) {
      const [high, low] = [flowHigh(slab, header.flow), flowLow(slab, header.flow)];
      row = flows.table.addKnown(this.#keys.key, tenant, high, low);
      this.#placing.learn(row, slab, header);
      if (flows.table.prefixLength[row] === 0) flows.remove(row);
      else flows.met(row);
      return;
    }
    this.#placing.learn(row, slab, header);
    flows.seen(row);
  }

  /**
   * Takes one off the TTL, as each end is a router, and puts the congestion that was met outside into the packet. False: the packet
   * was dropped.
   * @param back where an ICMP error goes; null: into the chain
   */
  #passes(ports: Ports, packet: number, back: Link | null): boolean {
    const { pool, now } = ports;
    if (back === null) {
      const lost = takeEcn(pool, packet);
      if (lost !== 0) {
        pool.drop(packet, lost);
        return false;
      }
    }
    if (!pool.own(packet)) {
      pool.drop(packet, EndDrop.NoMemory);
      return false;
    }
    if (decrementTtl(pool.slab, pool.offset[packet])) return true;
    const reply = this.#icmp.timeExceeded(pool, packet, now);
    pool.drop(packet, EndDrop.TtlExpired);
    if (reply < 0) return false;
    if (back !== null) {
      back.put(reply);
      return false;
    }
    const at = pool.offset[reply];
    const { tenant } = this.#options;
    const direction = this.#keys.of(pool.slab, at, at + pool.length[reply], tenant, now);
    if (direction < 0) pool.drop(reply, EndDrop.NoKey);
    else this.#send(ports, reply, direction as 0 | 1, false);
    return false;
  }

  held(): number {
    return this.#fragments.waiting;
  }

  close(): void {
    if (this.#addresses) this.tables.release(this.#addresses);
    this.#addresses = undefined;
  }

  /** Fragments that wait are nobody's any more. */
  finish({ pool }: Ports): void {
    const fragments = this.#fragments;
    while (fragments.waiting > 0) pool.drop(fragments.expire(Number.POSITIVE_INFINITY), EndDrop.Fragment);
  }

  report(): AppReport {
    const { flows, placed, moved, mended, learned, adopted } = this.#placing;
    const { replicas, revisions, suspects } = this.tables.counts;
    return {
      role: this.#options.role,
      replica: this.tables.own,
      flows: flows.table.size,
      flowsPlaced: placed,
      flowsMoved: moved,
      flowsMended: mended,
      pathsLearned: learned,
      pathsAdopted: adopted,
      flowsExpired: this.#expired,
      flowsEvicted: flows.table.evicted,
      fragmentsHeld: this.#fragments.waiting,
      icmpSent: this.#icmp.sent,
      icmpSuppressed: this.#icmp.suppressed,
      replicas,
      revisions,
      suspects,
      suspected: this.#neighbours.suspected,
      probesAnswered: this.#answers.given,
      answersHeard: this.#heard,
      unreachable: this.tables.unreachable,
      ...this.#counts.report(),
    };
  }
}

/** Rules that do not read as they should are left out: whoever keeps them has checked them. */
function classifierOf(rules: readonly RuleUpdate[]): Classifier {
  return new Classifier(
    rules.flatMap(({ match, chain }) => {
      const read = flowMatchSchema.safeParse(match);
      return read.success ? [{ match: read.data, chain }] : [];
    }),
  );
}

export const end = defineApp<EndOptions, CheckedEnd>({
  module: import.meta.url,
  export: 'end',
  check(options) {
    const checked = checkOptions(endSchema, options);
    prefixes('addresses', checked.addresses, true);
    return checked;
  },
  create: (options) => new End(options),
});
