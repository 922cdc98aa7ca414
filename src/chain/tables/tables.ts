/**
 * What packets need to know of the registry, in one member: which chains there are, which replica is where and who may send.
 * The control half brings changes between breaths; packets ask with integers and get integers, or objects that were
 * there before.
 */
import { type AddressBook, MAX_PINNED } from '../../engine/address-book.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { parseIp } from '../../packet/address.ts';
import { ReplicaSet } from '../placement.ts';
import { EGRESS, INGRESS } from '../roulette/model/model.ts';
import { CHOOSE } from '../wire/tlv.ts';
import { type ChainRevision, Chains } from './chains.ts';
import { Suspects } from './suspects.ts';
import type { ReplicaUpdate, TableUpdate } from './update.ts';

/** `Unheard`: there may be such a replica, and nobody has told of it yet. */
export const ReplicaState = { Unheard: 0, Ready: 1, Draining: 2, Gone: 3 } as const;

/** No such address. */
export const NO_ROW = -1;

/** ns for which packets of a replica that is gone, or was elsewhere, are still taken: they were under way when it left. */
const UNDER_WAY = SECOND;
/** Addresses that are kept for that at a time. */
const MAX_LEFT = 1024;

const IDS = 0x10000;
const NOBODY = new ReplicaSet([]);

export class ChainTables {
  /** This member's replica, or CHOOSE while it is not registered. */
  own = CHOOSE;
  /** Goes up with every change of chains, of what is taken for one, of replicas or suspicions: what a flow's path was made of may be others then. */
  version = 1;
  /** Of `ingress` and of `egress`. */
  ingress = NOBODY;
  egress = NOBODY;
  /** IP version that packets to some replica have: 6 as soon as one has such an address. */
  get outer(): 4 | 6 {
    return this.#ipv6 > 0 ? 6 : 4;
  }

  /** Replicas whose address found no place in the address book. */
  unreachable = 0;

  #ipv6 = 0;
  readonly #chains = new Chains();
  readonly #suspects = new Suspects();
  readonly #rows = new Int32Array(IDS).fill(NO_ROW);
  readonly #states = new Uint8Array(IDS);
  /** By kept row of the address book: how many replicas are there or were until lately, and which one came last. */
  readonly #members = new Uint16Array(MAX_PINNED);
  readonly #replicaAt = new Uint16Array(MAX_PINNED);
  readonly #replicas = new Map<number, ReplicaUpdate>();
  /** Ids of the replicas of each function. */
  readonly #byFunction = new Map<string, Set<number>>();
  readonly #sets = new Map<string, ReplicaSet>();
  /** Rows of those that have left, and until when they are kept, ns: Infinity before the next tick. */
  readonly #left: { row: number; until: number }[] = [];
  #addresses: AddressBook | undefined;

  // ── What packets ask.

  /** The revision that a packet carries, or null. @param spi without the bit of the way back */
  chain(spi: number, revision: number): ChainRevision | null {
    return this.#chains.find(spi, revision);
  }

  /** Whether packets may carry this revision: a known one, or for a while a newer one, which others may hear of first. */
  carries(spi: number, revision: number): boolean {
    return this.#chains.carries(spi, revision);
  }

  /** The revision that new flows get, or null when there is no such chain or it has ended. */
  newest(spi: number): ChainRevision | null {
    return this.#chains.newest(spi);
  }

  /** Row of a replica's address in the address book, or NO_ROW. */
  row(id: number): number {
    return this.#rows[id];
  }

  /** One of ReplicaState. */
  state(id: number): number {
    return this.#states[id];
  }

  isSuspect(id: number): boolean {
    return this.#suspects.count > 0 && this.#suspects.has(id);
  }

  /** Whether a registered replica sends from this row, or one that was until lately. */
  isMember(row: number): boolean {
    return row >= 0 && row < MAX_PINNED && this.#members[row] > 0;
  }

  /** A replica that sends from this row, or CHOOSE. Where one process has several, it is one of them. */
  replicaAt(row: number): number {
    return row >= 0 && row < MAX_PINNED ? this.#replicaAt[row] : CHOOSE;
  }

  // ── Suspicions.

  /** A replica cannot be reached. New flows avoid it, if there is another. Returns whether that is new. */
  suspect(id: number, now: number): boolean {
    const replica = this.#replicas.get(id);
    if (!replica || !this.#suspects.add(id, now)) return false;
    this.#remake(replica.function);
    return true;
  }

  /** A replica has answered. */
  alive(id: number): void {
    if (this.#suspects.count > 0 && this.#suspects.end(id)) this.#remakeOf(id);
  }

  /**
   * At the start of a breath. Ends the suspicions that have lasted long enough, forgets where replicas were, and takes no longer the revisions
   * that Roulette has not told of.
   */
  tick(now: number): void {
    if (this.#chains.ahead.tick(now)) this.version++;
    if (this.#left.length > 0) this.#keepLeft(now);
    for (let id = this.#suspects.expire(now); id !== CHOOSE; id = this.#suspects.expire(now))
      this.#remakeOf(id);
  }

  /** When `tick` has something to do: ns, or Infinity. */
  nextDeadline(): number {
    const left = this.#left.length > 0 ? this.#left[0].until : Number.POSITIVE_INFINITY;
    return Math.min(this.#suspects.nextDeadline(), left, this.#chains.ahead.nextDeadline);
  }

  // ── What the control half brings.

  /** The rules and flows of an update are not for the tables. */
  apply(update: TableUpdate, addresses: AddressBook): void {
    const { whole = false, own, chains = [], replicas = [], gone = [] } = update;
    this.#addresses = addresses;
    const self = own ? own.id : whole ? CHOOSE : this.own;
    if (self !== this.own) this.version++;
    this.own = self;
    if (update.watched !== undefined) this.#chains.ahead.watched = update.watched;
    const changed = new Set<string>();
    for (const replica of replicas) this.#put(replica, whole, addresses, changed);
    const left = whole ? [...this.#replicas.keys()] : gone;
    const kept = whole ? new Set(replicas.map(({ id }) => id)) : undefined;
    for (const id of left) if (!kept?.has(id)) this.#remove(id, changed);
    for (const name of changed) this.#remake(name);
    if (whole || chains.length > 0) {
      this.#chains.apply(chains, whole, (name) => this.replicasOf(name));
      this.version++;
    }
  }

  /** The replicas of a function, as they are now. */
  replicasOf(name: string): ReplicaSet {
    return this.#sets.get(name) ?? NOBODY;
  }

  /** Function, address, weight and state of a replica, or undefined. */
  replica(id: number): ReplicaUpdate | undefined {
    return this.#replicas.get(id);
  }

  /** Gives all addresses back. */
  release(addresses: AddressBook): void {
    this.apply({ whole: true }, addresses);
    while (this.#left.length > 0) this.#forgetLeft();
  }

  /** Plain numbers for reports. */
  get counts(): { replicas: number; revisions: number; suspects: number; refused: number } {
    return {
      replicas: this.#replicas.size,
      revisions: this.#chains.count,
      suspects: this.#suspects.count,
      refused: this.#chains.refused,
    };
  }

  #put(replica: ReplicaUpdate, whole: boolean, addresses: AddressBook, changed: Set<string>): void {
    const { id } = replica;
    const before = this.#replicas.get(id);
    const moved = before?.address !== replica.address || before.port !== replica.port;
    // Said once more by itself it has registered anew; in a list of everything, or stale, it is only still there.
    if (moved || !(whole || replica.stale)) this.#suspects.end(id);
    if (before && before.function !== replica.function) this.#leave(before, changed);
    if (before?.address.includes(':')) this.#ipv6--;
    if (replica.address.includes(':')) this.#ipv6++;
    this.#replicas.set(id, { ...replica });
    let members = this.#byFunction.get(replica.function);
    if (!members) this.#byFunction.set(replica.function, (members = new Set()));
    members.add(id);
    this.#states[id] = replica.state === 'ready' ? ReplicaState.Ready : ReplicaState.Draining;
    if (moved) {
      // The new one first: the row of an address that several share stays.
      const row = this.#pin(replica, addresses);
      this.#unpin(id);
      this.#rows[id] = row;
      if (row !== NO_ROW) {
        this.#members[row]++;
        this.#replicaAt[row] = id;
      }
    }
    changed.add(replica.function);
  }

  #remove(id: number, changed: Set<string>): void {
    const replica = this.#replicas.get(id);
    if (!replica) return;
    this.#unpin(id);
    this.#leave(replica, changed);
    if (replica.address.includes(':')) this.#ipv6--;
    this.#replicas.delete(id);
    this.#states[id] = ReplicaState.Gone;
    this.#suspects.end(id);
  }

  #leave(replica: ReplicaUpdate, changed: Set<string>): void {
    this.#byFunction.get(replica.function)?.delete(replica.id);
    changed.add(replica.function);
  }

  #pin({ address, port }: ReplicaUpdate, addresses: AddressBook): number {
    const { family, bytes } = parseIp(address);
    if (addresses.pinnedRoom === 0) while (this.#left.length > 0) this.#forgetLeft();
    try {
      return addresses.pinAddress({ family, bytes, port, scope: 0 });
    } catch (error) {
      if (!(error instanceof TunconnectorError) || error.code !== 'ERR_LIMIT') throw error;
      this.unreachable++;
      return NO_ROW;
    }
  }

  #unpin(id: number): void {
    const row = this.#rows[id];
    if (row === NO_ROW) return;
    this.#rows[id] = NO_ROW;
    if (this.#replicaAt[row] === id) this.#replicaAt[row] = Math.max(CHOOSE, this.#rows.indexOf(row));
    if (this.#left.length >= MAX_LEFT) this.#forgetLeft();
    this.#left.push({ row, until: Number.POSITIVE_INFINITY });
  }

  #keepLeft(now: number): void {
    for (let i = this.#left.length - 1; i >= 0 && this.#left[i].until === Number.POSITIVE_INFINITY; i--)
      this.#left[i].until = now + UNDER_WAY;
    while (this.#left.length > 0 && this.#left[0].until <= now) this.#forgetLeft();
  }

  #forgetLeft(): void {
    const { row } = this.#left.shift()!;
    this.#members[row]--;
    this.#addresses!.unpin(row);
  }

  #remakeOf(id: number): void {
    const replica = this.#replicas.get(id);
    if (replica) this.#remake(replica.function);
  }

  /**
   * Replicas that are suspected are left out, unless no other is ready: then one may as well be tried. Those that are stale keep their flows, as
   * draining ones do, unless no other is ready.
   */
  #remake(name: string): void {
    const all = [...(this.#byFunction.get(name) ?? [])].map((id) => this.#replicas.get(id)!);
    const trusted = all.filter(({ id }) => !this.#suspects.has(id));
    const isReady = ({ state }: ReplicaUpdate) => state === 'ready';
    const known = trusted.some(isReady) ? trusted : all;
    const isFresh = known.some((each) => isReady(each) && !each.stale);
    const set = new ReplicaSet(
      isFresh ? known.map((each) => (each.stale ? { ...each, state: 'draining' as const } : each)) : known,
    );
    if (all.length > 0) {
      this.#sets.set(name, set);
    } else {
      this.#sets.delete(name);
      this.#byFunction.delete(name);
    }
    if (name === INGRESS) this.ingress = set;
    if (name === EGRESS) this.egress = set;
    this.#chains.exchange(name, set);
    this.version++;
  }
}
