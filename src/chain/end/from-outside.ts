/**
 * What comes to an end from outside: the prefix is checked and taken off, the flow's path is learned from it, the packet is
 * delivered. Probes are answered, or are the answers to those of this end.
 */
import type { Ports } from '../../engine/app.ts';
import type { Pool } from '../../engine/pool.ts';
import * as ip from '../../packet/ip.ts';
import * as nsh from '../../packet/nsh.ts';
import { Problem } from '../../packet/problem.ts';
import { takeEcn } from '../../tunnel/decapsulate.ts';
import { NONE } from '../flow-table.ts';
import { NO_ROW } from '../tables/index.ts';
import { ACCEPTED, ChainHeader } from '../wire/header.ts';
import { RETURN } from '../wire/prefix.ts';
import { CHOOSE, flowHigh, flowLow, replica, revision, START } from '../wire/tlv.ts';
import type { FromInside } from './from-inside.ts';
import { EndDrop } from './reasons.ts';
import type { EndState } from './state.ts';
import type { Traces } from './traces.ts';

export class FromOutside {
  readonly #state: EndState;
  /** For errors that answer what came out of the chain: they go back into it. */
  readonly #fromInside: FromInside;
  readonly #traces: Traces;
  readonly #header = new ChainHeader();
  /** Answers to probes from here. */
  heard = 0;

  constructor(state: EndState, fromInside: FromInside, traces: Traces) {
    this.#state = state;
    this.#fromInside = fromInside;
    this.#traces = traces;
  }

  take(ports: Ports, packet: number): void {
    const { pool, output } = ports;
    const header = this.#header;
    const from = pool.offset[packet] - pool.prefixLength[packet];
    const end = pool.offset[packet] + (pool.prefixLength[packet] > 0 ? 0 : pool.length[packet]);
    const problem = header.read(pool.slab, from, end, this.#state.options.encapsulation);
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
    this.#state.counts.add(spi, 1, pool.segments[packet], pool.length[packet]);
    this.#learn(ports, packet);
    if (this.#passes(ports, packet)) output.inside.put(packet);
  }

  /** One that asks whether this replica lives is answered to whoever asks, one of a path that ends here to the path's start. */
  #probe({ pool, output, now }: Ports, packet: number): void {
    const header = this.#header;
    const { tables, answers } = this.#state;
    const { slab } = pool;
    if (pool.prefixLength[packet] > 0) {
      pool.drop(packet, EndDrop.Probe);
      return;
    }
    if (header.path < 0) {
      const at = pool.offset[packet];
      if (!pool.own(packet)) {
        pool.drop(packet, EndDrop.NoMemory);
        return;
      }
      header.shift(pool.offset[packet] - at);
      if (answers.answer(slab, header.nsh)) {
        output.outside.put(packet);
      } else {
        this.#answered(pool, packet);
      }
      return;
    }
    if (replica(slab, header.path, START) === tables.own) {
      if (tables.isMember(pool.peer[packet])) this.#traces.answered(slab, header, now);
      this.#answered(pool, packet);
      return;
    }
    const refused = this.#refusal(pool, packet, header);
    const asker = tables.row(replica(slab, header.path, START));
    if (refused !== 0 || asker === NO_ROW || !answers.take()) {
      pool.drop(packet, refused === 0 ? EndDrop.Probe : refused);
      return;
    }
    pool.peer[packet] = asker;
    output.outside.put(packet);
  }

  /** An answer has done what it was for. What strangers say is dropped, and so are questions more than are answered. */
  #answered(pool: Pool, packet: number): void {
    const { tables, neighbours } = this.#state;
    const peer = pool.peer[packet];
    const { nsh: at, path } = this.#header;
    const isQuestion = path < 0 && nsh.ttl(pool.slab, at) === nsh.DEFAULT_TTL;
    if (isQuestion || !tables.isMember(peer)) {
      pool.drop(packet, EndDrop.Probe);
      return;
    }
    if (path < 0) neighbours.answered(peer);
    this.heard++;
    pool.free(packet);
  }

  /** Why a packet with a whole prefix is not for this end; 0: it is. */
  #refusal(pool: Pool, packet: number, header: ChainHeader): number {
    const { tables, options, isIngress } = this.#state;
    const { slab } = pool;
    if (!tables.isMember(pool.peer[packet])) return EndDrop.Stranger;
    const path = nsh.servicePath(slab, header.nsh);
    if (header.tenant !== options.tenant) return EndDrop.Unknown;
    if (!tables.carries(path & ~RETURN, revision(slab, header.path))) return EndDrop.Unknown;
    if (((path & RETURN) !== 0) !== isIngress || header.position !== header.functions)
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
    const { placing, keys } = this.#state;
    const { flows } = placing;
    const { tenant } = this.#state.options;
    const at = pool.offset[packet];
    // Of a later fragment that overtook its first nothing is learned.
    if (keys.of(slab, at, at + pool.length[packet], tenant, now) < 0) return;
    let row = flows.table.find(keys.key, tenant);
    if (row === NONE) {
      const [high, low] = [flowHigh(slab, header.flow), flowLow(slab, header.flow)];
      row = flows.table.addKnown(keys.key, tenant, high, low);
      placing.learn(row, slab, header);
      if (flows.table.prefixLength[row] === 0) flows.remove(row);
      else flows.met(row);
      return;
    }
    placing.learn(row, slab, header);
    flows.seen(row);
  }

  /**
   * Puts the congestion that was met outside into the packet, and takes one off its TTL, as each end is a router. False: the
   * packet was dropped.
   */
  #passes(ports: Ports, packet: number): boolean {
    const { pool, now } = ports;
    const lost = takeEcn(pool, packet);
    if (lost !== 0) {
      pool.drop(packet, lost);
      return false;
    }
    if (this.#state.passes(pool, packet, now)) return true;
    const reply = this.#state.expired;
    if (reply < 0) return false;
    const at = pool.offset[reply];
    const direction = this.#state.keys.of(
      pool.slab,
      at,
      at + pool.length[reply],
      this.#state.options.tenant,
      now,
    );
    if (direction < 0) pool.drop(reply, EndDrop.NoKey);
    else this.#fromInside.send(ports, reply, direction as 0 | 1, false);
    return false;
  }
}
