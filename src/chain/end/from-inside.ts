/**
 * What comes to an end from inside: the flow is looked up, or (at an ingress) classified and placed; its prefix goes in front of
 * the packet, which leaves for the first replica of its path.
 */
import type { Ports } from '../../engine/app.ts';
import { PacketFlag } from '../../native/binding.ts';
import { ecnOf } from '../../packet/ecn.ts';
import * as ip from '../../packet/ip.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import { Problem } from '../../packet/problem.ts';
import * as udp from '../../packet/udp.ts';
import { copyBytes } from '../../packet/word.ts';
import { wireLength } from '../../tunnel/encapsulate.ts';
import { Classifier, NO_RULE, UNTAGGED } from '../classifier/classifier.ts';
import { flowMatchSchema } from '../classifier/match.ts';
import { UNKNOWN_DATAGRAM } from '../flow-keys.ts';
import { NONE } from '../flow-table.ts';
import { NO_ROW, type RuleUpdate } from '../tables/index.ts';
import { RETURN } from '../wire/prefix.ts';
import { CHOOSE } from '../wire/tlv.ts';
import { Bucket } from './limit.ts';
import { sendInPieces } from './pieces.ts';
import { EndDrop } from './reasons.ts';
import type { EndState } from './state.ts';

export class FromInside {
  readonly #state: EndState;
  readonly #opening: Bucket;
  #classifier = new Classifier([]);

  constructor(state: EndState) {
    this.#state = state;
    this.#opening = new Bucket(state.options.newFlows, state.options.newFlowsBurst);
  }

  /** Rules that do not read as they should are left out: whoever keeps them has checked them. */
  setRules(rules: readonly RuleUpdate[]): void {
    this.#classifier = new Classifier(
      rules.flatMap(({ match, chain }) => {
        const read = flowMatchSchema.safeParse(match);
        return read.success ? [{ match: read.data, chain }] : [];
      }),
    );
  }

  /** At the start of a breath. */
  refill(now: number): void {
    this.#opening.refill(now);
  }

  take(ports: Ports, packet: number): void {
    const { pool, now } = ports;
    const at = pool.offset[packet];
    const end = at + pool.length[packet];
    if (ip.check(pool.slab, at, end) !== Problem.None) {
      pool.drop(packet, EndDrop.Malformed);
      return;
    }
    const { fragments, keys } = this.#state;
    const { tenant } = this.#state.options;
    const direction = keys.of(pool.slab, at, end, tenant, now);
    if (direction === UNKNOWN_DATAGRAM) {
      if (!fragments.hold(pool.slab, at, tenant, packet, now)) pool.drop(packet, EndDrop.Fragment);
      return;
    }
    if (direction < 0) {
      pool.drop(packet, EndDrop.NoKey);
      return;
    }
    this.send(ports, packet, direction as 0 | 1, true);
    if (fragments.waiting === 0) return;
    for (let held = fragments.release(now); held !== NONE; held = fragments.release(now)) {
      const from = pool.offset[held];
      const way = keys.of(pool.slab, from, from + pool.length[held], tenant, now);
      this.send(ports, held, way as 0 | 1, true);
    }
  }

  /**
   * A packet whose flow's key was just read goes into the chain.
   * @param forwarded from elsewhere: it loses one of its TTL
   */
  send(ports: Ports, packet: number, direction: 0 | 1, forwarded: boolean): void {
    const { pool } = ports;
    const { tables, placing, options } = this.#state;
    const { flows } = placing;
    const { table } = flows;
    if (tables.own === CHOOSE) {
      pool.drop(packet, EndDrop.NotRegistered);
      return;
    }
    let row = table.find(this.#state.keys.key, options.tenant);
    if (row !== NONE && flows.checked[row] !== tables.version && !placing.check(row)) {
      flows.remove(row);
      row = NONE;
    }
    if (row === NONE) {
      row = this.#open(ports, packet, direction);
      if (row === NONE) return;
    } else {
      flows.seen(row);
    }
    const peer = tables.row(placing.first(row));
    if (peer === NO_ROW) {
      pool.drop(packet, EndDrop.NoReplica);
      return;
    }
    if (forwarded && !this.#state.passes(pool, packet, ports.now)) {
      const { expired } = this.#state;
      if (expired >= 0) ports.output.inside.put(expired);
      return;
    }
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
    if (options.probes) this.#state.neighbours.use(placing.first(row), spi);
    this.#state.counts.add(spi, 0, pool.segments[packet], pool.length[packet]);
    this.#put(ports, packet, length);
  }

  /** Sends a packet that is ready, in pieces if it must be, or tells its sender that it is too long. */
  #put({ pool, output, now }: Ports, packet: number, prefix: number): void {
    const overhead = (this.#state.tables.outer === 4 ? ipv4.HEADER : ipv6.HEADER) + udp.HEADER + prefix;
    const mtu = this.#state.options.mtu - overhead;
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
      const reply = this.#state.icmp.tooBig(pool, packet, told, now);
      if (reply >= 0) output.inside.put(reply);
      pool.drop(packet, EndDrop.TooBig);
    }
  }

  /** The row of a flow that is new here, or NONE: then the packet has gone elsewhere. */
  #open({ pool, output }: Ports, packet: number, direction: 0 | 1): number {
    const { tables, placing } = this.#state;
    const { flows } = placing;
    const { table } = flows;
    if (!this.#state.isIngress) {
      pool.drop(packet, EndDrop.NoFlow);
      return NONE;
    }
    const { key } = this.#state.keys;
    const { tenant } = this.#state.options;
    const at = pool.offset[packet];
    const dscp = ip.trafficClass(pool.slab, at) >> 2;
    const rule = this.#classifier.find(key, 0, tenant, direction, dscp, UNTAGGED);
    const spi = rule === NO_RULE ? null : this.#classifier.chain(rule);
    const chain = spi === null ? null : tables.newest(spi);
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
    if (placing.open(row, chain, ip.version(pool.slab, at) === 6 ? 6 : 4)) return row;
    flows.remove(row);
    pool.drop(packet, EndDrop.Unknown);
    return NONE;
  }
}
