/**
 * The hop of a chain's function: `outside` are the datagrams of the chain, `function` is the function, any app with one input and one
 * output of IP packets.
 *
 *   outside -> function    the prefix is read and moved in front of the packet, where it stays while the function works
 *   function -> outside    one step on: the next replica is in the prefix, and goes only to the registry's copy for its address
 *
 * Nobody is asked, and no flow is remembered: the packet carries its path. A replica that cannot be reached is chosen anew,
 * for that slot alone, and the path's generation is one higher. Superframes stay whole, and a flow's packets in order.
 */
import { z } from 'zod';
import type { AddressBook } from '../../engine/address-book.ts';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../../engine/app.ts';
import type { Link } from '../../engine/link.ts';
import { checkOptions } from '../../engine/options.ts';
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { ecnOf } from '../../packet/ecn.ts';
import * as nsh from '../../packet/nsh.ts';
import { takeEcn } from '../../tunnel/decapsulate.ts';
import type { ChainControlled, MemberNews } from '../member/control.ts';
import type { ReplicaSet } from '../placement.ts';
import { ChainDrop } from '../reasons.ts';
import { tenantId } from '../roulette/model/schema.ts';
import { ChainTables, NO_ROW, ReplicaState } from '../tables/index.ts';
import type { TableUpdate } from '../tables/update.ts';
import { advance } from '../wire/edit.ts';
import { ACCEPTED, ChainHeader } from '../wire/header.ts';
import { RETURN } from '../wire/prefix.ts';
import {
  CHOOSE,
  flowHigh,
  flowLow,
  generation,
  nextGeneration,
  replica,
  revision,
  START,
  setGeneration,
  setReplica,
} from '../wire/tlv.ts';
import { Answers } from './answers.ts';
import { Neighbours } from './neighbours.ts';
import { HopDrop } from './reasons.ts';

export const hopSchema = z.strictObject({
  tenant: tenantId,
  encapsulation: z.enum(['vxlan-gpe', 'geneve']).default('vxlan-gpe'),
  /** Whether the replicas that packets go to are probed. */
  probes: z.boolean().default(true),
});
export type HopOptions = z.input<typeof hopSchema>;

/** Updates that may come before the app is opened. */
const MOST_EARLY = 1024;

export class Hop implements App, ChainControlled {
  readonly inputs = ['outside', 'function'];
  readonly outputs = ['outside', 'function'];
  readonly required = ['outside', 'function'];
  readonly layers: Readonly<Record<string, Layer>> = { outside: 'datagram', function: 'L3' };
  readonly paths = { outside: ['function', 'outside'], function: ['outside'] };
  /** A path probe goes on and is answered. */
  readonly expansion = 2;
  readonly superframes = true;
  readonly due = new Float64Array(1).fill(Infinity);

  readonly tables = new ChainTables();
  readonly #options: z.output<typeof hopSchema>;
  readonly #header = new ChainHeader();
  readonly #neighbours: Neighbours;
  readonly #answers = new Answers();
  #addresses: AddressBook | undefined;
  #wake: (() => void) | undefined;
  #early: TableUpdate[] = [];
  #reselected = 0;
  onNews: (() => void) | undefined;

  constructor(options: z.output<typeof hopSchema>) {
    this.#options = options;
    this.#neighbours = new Neighbours(this.tables, options.tenant, options.encapsulation);
    this.#neighbours.onNews = () => this.onNews?.();
  }

  open({ pool, wake }: AppContext): void {
    this.#addresses = pool.addresses;
    this.#wake = wake;
    for (const update of this.#early.splice(0)) this.update(update);
  }

  // ── The control half.

  update(update: TableUpdate): void {
    if (this.#addresses) {
      this.tables.apply(update, this.#addresses);
      this.#wake?.();
      return;
    }
    if (update.whole) this.#early = [];
    if (this.#early.length < MOST_EARLY) this.#early.push(update);
  }

  takeNews(): MemberNews | undefined {
    const suspects = this.#neighbours.takeNews();
    return suspects && { suspects };
  }

  // ── Packets.

  push({ pool, input, output, now }: Ports): void {
    const { outside } = output;
    this.tables.tick(now);
    this.#answers.refill(now);
    if (this.#options.probes) this.#neighbours.run(pool, outside, now);
    // What the function has done goes first: what it is given next needs room behind it.
    for (let n = input.function.waiting; n > 0; n--) this.#fromFunction(pool, input.function.take(), outside);
    for (let n = input.outside.waiting; n > 0; n--)
      this.#fromOutside(pool, input.outside.take(), outside, output.function);
    this.due[0] = Math.min(this.#neighbours.next[0], this.tables.nextDeadline());
  }

  #fromOutside(pool: Pool, packet: number, outside: Link, inward: Link): void {
    const header = this.#header;
    const { slab } = pool;
    const prefix = pool.prefixLength[packet];
    const at = pool.offset[packet] - prefix;
    const end = pool.offset[packet] + pool.length[packet];
    const problem = header.read(
      slab,
      at,
      prefix > 0 ? pool.offset[packet] : end,
      this.#options.encapsulation,
    );
    if (problem !== ACCEPTED) {
      pool.drop(packet, problem);
      return;
    }
    if (header.path < 0) {
      this.#replicaProbe(pool, packet, outside);
      return;
    }
    const refused = this.#refusal(pool, packet);
    if (refused !== 0) {
      pool.drop(packet, refused);
      return;
    }
    if (header.family === 0) {
      this.#pathProbe(pool, packet, outside);
      return;
    }
    if ((prefix > 0 && header.end !== pool.offset[packet]) || header.end === end) {
      pool.drop(packet, HopDrop.Malformed);
      return;
    }
    if (slab[header.end] >> 4 !== header.family) {
      pool.drop(packet, ChainDrop.NextProtocol);
      return;
    }
    pool.offset[packet] = header.end;
    pool.length[packet] = end - header.end;
    pool.prefixLength[packet] = header.end - at;
    pool.layer[packet] = 3;
    pool.l3Offset[packet] = 0;
    const lost = takeEcn(pool, packet);
    if (lost !== 0) pool.drop(packet, lost);
    else inward.put(packet);
  }

  /** Whoever asks whether this replica lives is told, also if it is no member: the answer is no longer than the question. */
  #replicaProbe(pool: Pool, packet: number, outside: Link): void {
    const { slab } = pool;
    if (!this.#own(pool, packet)) return;
    if (nsh.ttl(slab, this.#header.nsh) !== nsh.DEFAULT_TTL) {
      // An answer has done what it was for; what strangers say is dropped.
      if (this.tables.isMember(pool.peer[packet])) {
        this.#neighbours.answered(pool.peer[packet]);
        pool.free(packet);
      } else {
        pool.drop(packet, HopDrop.Probe);
      }
    } else if (pool.prefixLength[packet] > 0 || !this.#answers.answer(slab, this.#header.nsh)) {
      pool.drop(packet, HopDrop.Probe);
    } else {
      outside.put(packet);
    }
  }

  /** Why a packet with a whole prefix is not for this replica; 0: it is. */
  #refusal(pool: Pool, packet: number): number {
    const { tables } = this;
    const { slab } = pool;
    const header = this.#header;
    if (!tables.isMember(pool.peer[packet])) return HopDrop.Stranger;
    if (tables.own === CHOOSE) return HopDrop.NotRegistered;
    if (header.tenant !== this.#options.tenant || !this.#isCarried(slab)) return HopDrop.Unknown;
    if (header.position >= header.functions) return HopDrop.Misdirected;
    const id = replica(slab, header.path, header.position);
    return id === tables.own || id === CHOOSE ? 0 : HopDrop.Misdirected;
  }

  /** Whether there is such a chain and such a path of it. A revision that others have heard of first has any path. */
  #isCarried(slab: Uint8Array): boolean {
    const header = this.#header;
    const spi = nsh.servicePath(slab, header.nsh) & ~RETURN;
    const carried = revision(slab, header.path);
    const chain = this.tables.chain(spi, carried);
    if (chain === null) return this.tables.carries(spi, carried);
    const back = (nsh.servicePath(slab, header.nsh) & RETURN) !== 0;
    // Replies of a chain that is not symmetric visit no function.
    return chain.names.length === header.functions || (back && !chain.symmetric && header.functions === 0);
  }

  /** Goes on past the function, and a copy to whoever asked. */
  #pathProbe(pool: Pool, packet: number, outside: Link): void {
    const { slab } = pool;
    if (pool.prefixLength[packet] > 0 || !this.#answers.take()) {
      pool.drop(packet, HopDrop.Probe);
      return;
    }
    if (!this.#own(pool, packet)) return;
    const asker = this.tables.row(replica(slab, this.#header.path, START));
    if (asker !== NO_ROW) {
      const answer = pool.copy(packet);
      if (answer >= 0) {
        pool.peer[answer] = asker;
        outside.put(answer);
      }
    }
    this.#forward(pool, packet, outside);
  }

  #fromFunction(pool: Pool, packet: number, outside: Link): void {
    const { slab } = pool;
    const at = pool.offset[packet];
    const prefix = pool.prefixLength[packet];
    if (prefix === 0) {
      pool.drop(packet, HopDrop.NoPath);
      return;
    }
    // The function may have written it, and what the hop read is of another packet by now.
    const problem = this.#header.read(slab, at - prefix, at, this.#options.encapsulation);
    if (problem !== ACCEPTED || this.#header.end !== at || this.#header.path < 0) {
      pool.drop(packet, problem === ACCEPTED ? HopDrop.NoPath : problem);
      return;
    }
    if (!this.#own(pool, packet)) return;
    const version = pool.length[packet] > 0 ? slab[pool.offset[packet]] >> 4 : 0;
    if (version === 4) nsh.setNextProtocol(slab, this.#header.nsh, nsh.NextProtocol.Ipv4);
    else if (version === 6) nsh.setNextProtocol(slab, this.#header.nsh, nsh.NextProtocol.Ipv6);
    else {
      pool.drop(packet, HopDrop.Malformed);
      return;
    }
    pool.trafficClass[packet] = ecnOf(slab, pool.offset[packet]);
    this.#forward(pool, packet, outside);
  }

  /** Before what the header was read from is written to, which may be another packet's as well. False: it was dropped. */
  #own(pool: Pool, packet: number): boolean {
    const at = pool.offset[packet];
    if (!pool.own(packet)) {
      pool.drop(packet, Reason.NoMemory);
      return false;
    }
    this.#header.shift(pool.offset[packet] - at);
    return true;
  }

  /** One step on along the path that the header is of. */
  #forward(pool: Pool, packet: number, outside: Link): void {
    const { slab } = pool;
    const header = this.#header;
    const { tables } = this;
    if (header.tenant !== this.#options.tenant || !this.#isCarried(slab)) {
      pool.drop(packet, HopDrop.Unknown);
      return;
    }
    if (header.position >= header.functions) {
      pool.drop(packet, HopDrop.Misdirected);
      return;
    }
    if (!advance(slab, header.nsh)) {
      pool.drop(packet, ChainDrop.Ttl);
      return;
    }
    // Who was chosen tells its name, so that the replies find it.
    if (replica(slab, header.path, header.position) === CHOOSE)
      setReplica(slab, header.path, header.position, tables.own);
    const servicePath = nsh.servicePath(slab, header.nsh);
    const next = header.position + 1;
    let id = replica(slab, header.path, next);
    if (!this.#reachable(id)) id = this.#choose(slab, servicePath, next, id);
    const row = tables.row(id);
    if (row === NO_ROW) {
      pool.drop(packet, HopDrop.NoReplica);
      return;
    }
    if (this.#options.probes && id !== tables.own) this.#neighbours.use(id, servicePath & ~RETURN);
    pool.peer[packet] = row;
    pool.layer[packet] = 0;
    outside.put(packet);
  }

  #reachable(id: number): boolean {
    const { tables } = this;
    return (
      id !== CHOOSE &&
      tables.state(id) !== ReplicaState.Gone &&
      tables.row(id) !== NO_ROW &&
      !tables.isSuspect(id)
    );
  }

  /** Another replica for one slot, or the same where there is no other. */
  #choose(slab: Uint8Array, servicePath: number, position: number, id: number): number {
    const { path, flow } = this.#header;
    const set = this.#setOf(slab, servicePath, position);
    if (set === null) return id;
    const other = set.pick(flowHigh(slab, flow), flowLow(slab, flow));
    if (other === CHOOSE || other === id) return id;
    setReplica(slab, path, position, other);
    setGeneration(slab, path, nextGeneration(generation(slab, path)));
    this.#reselected++;
    return other;
  }

  /** The replicas of a position; null where the revision is not known here. */
  #setOf(slab: Uint8Array, servicePath: number, position: number): ReplicaSet | null {
    const { functions, path } = this.#header;
    const back = (servicePath & RETURN) !== 0;
    if (position === functions) return back ? this.tables.ingress : this.tables.egress;
    const chain = this.tables.chain(servicePath & ~RETURN, revision(slab, path));
    if (chain === null) return null;
    return back ? chain.backward[position] : chain.functions[position];
  }

  report(): AppReport {
    const { replicas, revisions, suspects } = this.tables.counts;
    return {
      replica: this.tables.own,
      replicas,
      revisions,
      suspects,
      suspected: this.#neighbours.suspected,
      reselected: this.#reselected,
      probesAnswered: this.#answers.given,
    };
  }

  close(): void {
    if (this.#addresses) this.tables.release(this.#addresses);
    this.#addresses = undefined;
  }
}

export const hop = defineApp<HopOptions, z.output<typeof hopSchema>>({
  module: import.meta.url,
  export: 'hop',
  check: (options) => checkOptions(hopSchema, options),
  create: (options) => new Hop(options),
});
