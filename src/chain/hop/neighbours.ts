/**
 * Whether the replicas that packets are sent to are alive. Those in use are probed every 100 ms; one that leaves three probes
 * unanswered, or whose machine says that nobody listens there, is suspected, until it answers. For whoever sends along chains:
 * hops and ends.
 */
import type { AddressBook } from '../../engine/address-book.ts';
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import { COMMON_ACCOUNT } from '../../native/binding.ts';
import type { Suspicion } from '../member/control.ts';
import { type ChainTables, NO_ROW, ReplicaState } from '../tables/index.ts';
import { type Encapsulation, emitProbe } from '../wire/prefix.ts';

/** Between two probes of a replica: ns. */
export const PROBE_INTERVAL = 100 * MILLISECOND;
/** Unanswered probes that make a suspect. */
export const MISSED = 3;
/** A replica that nothing was sent to for so long is not probed: ns. */
const UNUSED = 2 * SECOND;
/** Replicas that are probed at a time. */
const MOST = 1024;
const IDS = 0x10000;
/** Suspicions that wait to be told. */
const MOST_NEWS = 1024;

export class Neighbours {
  readonly #tables: ChainTables;
  readonly #tenant: number;
  readonly #encapsulation: Encapsulation;
  /** By id: whether it is in the list, when it was sent to last, over which chain, and how many probes it has missed. */
  readonly #listed = new Uint8Array(IDS);
  readonly #used = new Float64Array(IDS);
  readonly #chain = new Int32Array(IDS);
  readonly #missed = new Uint8Array(IDS);
  readonly #list = new Int32Array(MOST);
  #count = 0;
  readonly #now = new Float64Array(1);
  #addresses: AddressBook | undefined;
  /** When the next probes are due: ns, or Infinity. */
  readonly next = new Float64Array(1).fill(Infinity);
  /** Of AddressBook: refusals that were looked at. */
  #refusals = 0;
  readonly #news: Suspicion[] = [];
  /** Suspicions there were. */
  suspected = 0;
  /** Called when there is something to tell. */
  onNews: (() => void) | undefined;

  constructor(tables: ChainTables, tenant: number, encapsulation: Encapsulation) {
    this.#tables = tables;
    this.#tenant = tenant;
    this.#encapsulation = encapsulation;
  }

  /** A packet of a chain goes to a replica, at the time of the last `run`. */
  use(id: number, servicePath: number): void {
    this.#used[id] = this.#now[0];
    if (this.#listed[id] !== 0 || this.#count === MOST) return;
    this.#listed[id] = 1;
    this.#missed[id] = 0;
    this.#chain[id] = servicePath;
    this.#list[this.#count++] = id;
    // What was refused while nobody looked is long ago.
    this.#addresses?.takeRefused(this.#tables.row(id));
    if (this.next[0] === Infinity) this.next[0] = this.#now[0];
  }

  /** The replicas at this row of the address book have answered. */
  answered(row: number): void {
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      if (this.#tables.row(id) !== row) continue;
      this.#missed[id] = 0;
      this.#tables.alive(id);
    }
  }

  /** Before packets are sent: looks for refusals, and sends the probes that are due. */
  run(pool: Pool, out: Link, now: number): void {
    const { addresses } = pool;
    this.#addresses = addresses;
    this.#now[0] = now;
    if (addresses.refused[0] !== this.#refusals) this.#lookForRefusals(addresses, now);
    if (now < this.next[0]) return;
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      const suspect = this.#tables.isSuspect(id);
      const gone = this.#tables.state(id) === ReplicaState.Gone;
      if (gone || (!suspect && now - this.#used[id] > UNUSED)) {
        this.#listed[id] = 0;
        continue;
      }
      this.#list[kept++] = id;
      if (this.#missed[id] >= MISSED) {
        this.#suspect(id, 'silent', now);
        this.#missed[id] = 0;
      }
      if (this.#probe(pool, out, id)) this.#missed[id]++;
    }
    this.#count = kept;
    this.next[0] = kept === 0 ? Infinity : now + PROBE_INTERVAL;
  }

  /** What is to be told; once. */
  takeNews(): Suspicion[] | undefined {
    return this.#news.length > 0 ? this.#news.splice(0) : undefined;
  }

  #lookForRefusals(addresses: AddressBook, now: number): void {
    this.#refusals = addresses.refused[0];
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      const row = this.#tables.row(id);
      if (row !== NO_ROW && addresses.refused[1 + row] !== 0) this.#suspect(id, 'refused', now);
    }
    // Only then, for several replicas may be in one place.
    for (let i = 0; i < this.#count; i++) addresses.takeRefused(this.#tables.row(this.#list[i]));
  }

  #suspect(id: number, evidence: Suspicion['evidence'], now: number): void {
    if (!this.#tables.suspect(id, now)) return;
    this.suspected++;
    if (this.#news.length === MOST_NEWS) return;
    this.#news.push({ replica: id, evidence });
    if (this.#news.length === 1) this.onNews?.();
  }

  #probe(pool: Pool, out: Link, id: number): boolean {
    const row = this.#tables.row(id);
    if (row === NO_ROW || out.room === 0) return false;
    const packet = pool.alloc(COMMON_ACCOUNT);
    if (packet < 0) return false;
    const probe = {
      encapsulation: this.#encapsulation,
      tenant: this.#tenant,
      servicePath: this.#chain[id],
    };
    pool.length[packet] = emitProbe(probe, pool.slab, pool.offset[packet]);
    pool.peer[packet] = row;
    out.put(packet);
    return true;
  }
}
