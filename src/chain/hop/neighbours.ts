/**
 * Whether the replicas that packets are sent to are alive. Those in use are probed every 100 ms; one that leaves three probes
 * unanswered, or whose machine says that nobody listens there, is suspected, until it answers. For whoever sends along chains:
 * hops and ends.
 *
 * Nothing proves that it was the machine which said so, and flows that have moved stay where they are. So a replica that has answered before is
 * asked first, and has twice the time of its last answer.
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
/** How long one that was refused has for an answer, beside twice the time of its last one, and at most: ns. */
const GRACE = 2 * MILLISECOND;
const MOST_GRACE = 20 * MILLISECOND;
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
  /** By id: when it was asked last, ns, and how long its last answer took, ns; 0: it has not answered yet. */
  readonly #asked = new Float64Array(IDS);
  readonly #took = new Float64Array(IDS);
  /** By id: when it is suspected if it does not answer, ns, 0: it is not in doubt; and the run that began to doubt it. */
  readonly #doubt = new Float64Array(IDS);
  readonly #since = new Int32Array(IDS);
  #doubts = 0;
  #runs = 0;
  readonly #list = new Int32Array(MOST);
  #count = 0;
  /** Of the last `run`, and of the one before. */
  readonly #now = new Float64Array(2);
  #addresses: AddressBook | undefined;
  /** When all are probed again: ns, or Infinity. */
  #round = Infinity;
  /** When there is something to do: ns, or Infinity. */
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
    this.#took[id] = 0;
    this.#chain[id] = servicePath;
    this.#list[this.#count++] = id;
    // What was refused while nobody looked is long ago.
    this.#addresses?.takeRefused(this.#tables.row(id));
    if (this.#round !== Infinity) return;
    this.#round = this.#now[0];
    this.next[0] = this.#now[0];
  }

  /** The replicas at this row of the address book have answered. */
  answered(row: number): void {
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      if (this.#tables.row(id) !== row) continue;
      this.#missed[id] = 0;
      this.#took[id] = Math.max(1, this.#now[0] - this.#asked[id]);
      // What came in the same breath as the refusal may be older.
      if (this.#doubt[id] > 0 && this.#runs !== this.#since[id]) this.#trust(id);
      this.#tables.alive(id);
    }
  }

  /** Before packets are sent: looks for refusals, and sends the probes that are due. */
  run(pool: Pool, out: Link, now: number): void {
    const { addresses } = pool;
    this.#addresses = addresses;
    this.#runs = (this.#runs + 1) | 0;
    this.#now[1] = this.#now[0];
    this.#now[0] = now;
    if (addresses.refused[0] !== this.#refusals) this.#lookForRefusals(pool, out, now);
    if (now < this.next[0]) return;
    if (this.#doubts > 0) this.#decide(now);
    if (now >= this.#round) this.#probeAll(pool, out, now);
    this.next[0] = this.#nextDeadline(now);
  }

  #probeAll(pool: Pool, out: Link, now: number): void {
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      const suspect = this.#tables.isSuspect(id);
      const gone = this.#tables.state(id) === ReplicaState.Gone;
      if (gone || (!suspect && now - this.#used[id] > UNUSED)) {
        this.#listed[id] = 0;
        this.#trust(id);
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
    this.#round = kept === 0 ? Infinity : now + PROBE_INTERVAL;
  }

  #nextDeadline(now: number): number {
    let next = this.#round;
    if (this.#doubts === 0) return next;
    for (let i = 0; i < this.#count; i++) {
      const until = this.#doubt[this.#list[i]];
      if (until > 0 && until < next) next = until;
    }
    return Math.max(next, now);
  }

  /** What is to be told; once. */
  takeNews(): Suspicion[] | undefined {
    return this.#news.length > 0 ? this.#news.splice(0) : undefined;
  }

  #lookForRefusals(pool: Pool, out: Link, now: number): void {
    const { addresses } = pool;
    this.#refusals = addresses.refused[0];
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      const row = this.#tables.row(id);
      if (row === NO_ROW || addresses.refused[1 + row] === 0 || this.#doubt[id] > 0) continue;
      if (this.#took[id] === 0 || this.#tables.isSuspect(id)) this.#suspect(id, 'refused', now);
      else this.#ask(pool, out, id, now);
    }
    // Only then, for several replicas may be in one place.
    for (let i = 0; i < this.#count; i++) addresses.takeRefused(this.#tables.row(this.#list[i]));
  }

  #ask(pool: Pool, out: Link, id: number, now: number): void {
    this.#since[id] = this.#runs;
    this.#doubt[id] = now + Math.min(MOST_GRACE, GRACE + 2 * this.#took[id]);
    this.#doubts++;
    this.next[0] = Math.min(this.next[0], this.#doubt[id]);
    this.#probe(pool, out, id);
  }

  #trust(id: number): void {
    if (this.#doubt[id] === 0) return;
    this.#doubt[id] = 0;
    this.#doubts--;
  }

  /** Suspects those that have not answered, once what was there in time has been read: with the breath after. */
  #decide(now: number): void {
    for (let i = 0; i < this.#count; i++) {
      const id = this.#list[i];
      if (this.#doubt[id] === 0 || this.#now[1] < this.#doubt[id]) continue;
      this.#trust(id);
      this.#took[id] = 0;
      this.#suspect(id, 'refused', now);
    }
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
    this.#asked[id] = this.#now[0];
    return true;
  }
}
