/**
 * Where the flows of an end go: placed, checked when the registry has changed, learned from packets of the other end, and
 * taken over from Roulette. What is decided is written into the prefix of the flow's row.
 *
 * Of two paths the one of the higher chain revision wins, then the one of the higher generation. Of two that are equal in
 * both Roulette's wins over one that was made here, and the ingress's over that of the egress, so that both ways are one.
 */
import { KeyCell } from '../../packet/flow-key.ts';
import { servicePath } from '../../packet/nsh.ts';
import { type FlowSecret, readFlowId } from '../flow-id.ts';
import { NONE } from '../flow-table.ts';
import { place, type ReplicaSet } from '../placement.ts';
import { type ChainRevision, type ChainTables, type FlowUpdate, ReplicaState } from '../tables/index.ts';
import type { ChainHeader } from '../wire/header.ts';
import { AT_PATH, type Encapsulation, emitPrefix, type FlowPrefix, RETURN } from '../wire/prefix.ts';
import {
  CHOOSE,
  FIRST_GENERATION,
  functions,
  generation,
  isNewer,
  MAX_FUNCTIONS,
  nextGeneration,
  replica,
  revision,
  START,
  setReplica,
} from '../wire/tlv.ts';
import { EndFlows } from './flows.ts';

export interface PathOptions {
  role: 'ingress' | 'egress';
  tenant: number;
  encapsulation: Encapsulation;
  secret: FlowSecret;
  flows: number;
  flowIdle: number;
  functions: number;
}

const NOWHERE: readonly ReplicaSet[] = [];

export class Paths {
  readonly flows: EndFlows;
  readonly #tables: ChainTables;
  readonly #isEgress: boolean;
  /** Longest path that a row has room for. */
  readonly #most: number;
  /** The path that is being made, as packets visit it, and views of its first so many replicas. */
  readonly #path = new Uint16Array(MAX_FUNCTIONS);
  readonly #views: Uint16Array[];
  readonly #before = new Uint16Array(MAX_FUNCTIONS);
  readonly #prefix: FlowPrefix;
  /** What was done so far: flows. */
  placed = 0;
  moved = 0;
  mended = 0;
  learned = 0;
  adopted = 0;

  constructor(tables: ChainTables, options: PathOptions) {
    const { role, tenant, encapsulation, secret, flows, flowIdle: idle } = options;
    this.#tables = tables;
    this.#isEgress = role === 'egress';
    this.#most = options.functions;
    this.flows = new EndFlows({ secret, flows, idle, functions: options.functions }, role === 'ingress');
    this.#views = Array.from({ length: MAX_FUNCTIONS + 1 }, (_, n) => this.#path.subarray(0, n));
    this.#prefix = {
      encapsulation,
      tenant,
      servicePath: 1,
      family: 4,
      flowHigh: 0,
      flowLow: 0,
      revision: 0,
      generation: 0,
      start: 0,
      replicas: this.#views[0],
      end: 0,
    };
  }

  /** The first stop of a flow: a replica's id, or CHOOSE. */
  first(row: number): number {
    const { prefixes } = this.flows.table;
    return replica(prefixes, this.#at(row), 0);
  }

  /** Places a new flow on a chain, as everybody would. False when the chain is longer than there is room for. */
  open(row: number, chain: ChainRevision, family: 4 | 6): boolean {
    const { table, checked } = this.flows;
    const count = chain.functions.length;
    if (count > this.#most) return false;
    const [high, low] = [table.idHigh[row], table.idLow[row]];
    place(chain.functions, high, low, this.#path);
    this.#prefix.family = family;
    this.#write(row, chain.spi, chain.revision, FIRST_GENERATION, count, this.#tables.egress.pick(high, low));
    checked[row] = this.#tables.version;
    this.placed++;
    this.flows.placed(row);
    return true;
  }

  /**
   * The path of a flow after something has changed: it moves to the chain's revision in force, and where a replica is gone
   * it gets another. False when its chain is no more.
   */
  check(row: number): boolean {
    const tables = this.#tables;
    const { table, checked } = this.flows;
    const { prefixes } = table;
    const spi = table.servicePath[row] & ~RETURN;
    const at = this.#at(row);
    const before = revision(prefixes, at);
    const inForce = tables.newest(spi);
    // A revision that others knew first stays; so does one of a chain that has ended.
    const chain = inForce !== null && inForce.revision > before ? inForce : tables.chain(spi, before);
    if (chain === null) {
      if (!tables.carries(spi, before)) return false;
      setReplica(prefixes, at, START, tables.own);
      checked[row] = tables.version;
      return true;
    }
    const onTheWay = this.#functionsOf(chain);
    const moves = chain.revision !== before;
    if (moves && onTheWay.length > this.#most) return false;
    let changes = 0;
    if (moves) {
      this.#move(row, onTheWay);
    } else {
      const count = functions(prefixes, at);
      for (let i = 0; i < count; i++) this.#path[i] = replica(prefixes, at, i);
      if (count === onTheWay.length) changes = this.#mend(row, onTheWay);
    }
    const ends = this.#isEgress ? tables.ingress : tables.egress;
    let end = replica(prefixes, at, functions(prefixes, at));
    if (this.#isLost(ends, end, functions(prefixes, at) === 0)) {
      const other = ends.pick(table.idHigh[row], table.idLow[row]);
      if (other !== end) changes++;
      end = other;
    }
    if (moves || changes > 0) {
      this.#prefix.family = this.#familyOf(row);
      const newer = nextGeneration(generation(prefixes, at));
      this.#write(row, spi, chain.revision, newer, onTheWay.length, end);
      if (moves) this.moved++;
      else this.mended++;
      this.flows.placed(row);
    } else {
      setReplica(prefixes, at, START, tables.own);
    }
    checked[row] = tables.version;
    return true;
  }

  /** A packet of the flow has come from the other end: whether its path is the better one. */
  learn(row: number, bytes: Uint8Array, header: ChainHeader): void {
    const { table, checked } = this.flows;
    const { path } = header;
    const spi = servicePath(bytes, header.nsh) & ~RETURN;
    const isNew = table.prefixLength[row] === 0;
    if (!isNew && !this.#isBetter(row, bytes, path)) return;
    const chain = this.#tables.chain(spi, revision(bytes, path)) ?? this.#tables.newest(spi);
    // Replies that visit no function say nothing of those that the way there visits.
    if (chain !== null && !chain.symmetric && !this.#isEgress) return;
    const count = chain === null || chain.symmetric ? header.functions : 0;
    if (count > this.#most) return;
    for (let i = 0; i < count; i++) this.#path[i] = replica(bytes, path, count - 1 - i);
    this.#prefix.family = header.family === 6 ? 6 : 4;
    this.#write(row, spi, revision(bytes, path), generation(bytes, path), count, replica(bytes, path, START));
    // What another has chosen is looked at before it is used.
    checked[row] = 0;
    this.learned++;
    // Roulette does not see packets, and its next word must not be older than this.
    if (!isNew) this.flows.placed(row);
  }

  /** Whether the path at `bytes[path]`, of the opposite direction, is to be taken instead of the flow's own. */
  #isBetter(row: number, bytes: Uint8Array, path: number): boolean {
    const own = this.flows.table.prefixes;
    const at = this.#at(row);
    const ours = revision(own, at);
    const theirs = revision(bytes, path);
    // One that Roulette has never told of is no longer better.
    if (theirs !== ours)
      return theirs > ours || !this.#tables.carries(this.flows.table.servicePath[row] & ~RETURN, ours);
    const mine = generation(own, at);
    const other = generation(bytes, path);
    if (mine !== other) return isNewer(other, mine);
    if (!this.#isEgress) return false;
    const count = functions(own, at);
    if (replica(own, at, count) !== replica(bytes, path, START)) return true;
    if (count !== functions(bytes, path)) return false;
    for (let i = 0; i < count; i++)
      if (replica(own, at, i) !== replica(bytes, path, count - 1 - i)) return true;
    return false;
  }

  /** A flow as Roulette holds it. Of a flow that is not known here nothing is kept. */
  adopt(flow: FlowUpdate): void {
    const { table, checked } = this.flows;
    const { prefixes } = table;
    const { high, low } = readFlowId(flow.id);
    for (let row = table.findId(high, low); row !== NONE; row = table.findId(high, low, row)) {
      if (table.prefixLength[row] === 0) continue;
      const at = this.#at(row);
      if (!this.#isHeld(prefixes, at, flow)) continue;
      const chain = this.#tables.chain(flow.spi, flow.revision);
      const visits = !this.#isEgress || chain === null || chain.symmetric ? flow.path : [];
      if (visits.length > this.#most) continue;
      const count = visits.length;
      for (let i = 0; i < count; i++) this.#path[i] = visits[this.#isEgress ? count - 1 - i : i];
      this.#prefix.family = this.#familyOf(row);
      const end = this.#isEgress ? replica(prefixes, at, functions(prefixes, at)) : flow.egress;
      this.#write(row, flow.spi, flow.revision, flow.generation, count, end);
      checked[row] = 0;
      this.adopted++;
    }
  }

  /** Whether Roulette's word on a flow is not older than what stands here. Before its first, any is. */
  #isHeld(own: Uint8Array, at: number, flow: FlowUpdate): boolean {
    const ours = revision(own, at);
    if (flow.revision !== ours) return flow.revision > ours;
    const mine = generation(own, at);
    return mine === FIRST_GENERATION || !isNewer(mine, flow.generation);
  }

  /** Chooses anew where a replica of the path is gone, and only there. Returns how many are others now. */
  #mend(row: number, onTheWay: readonly ReplicaSet[]): number {
    const { idHigh, idLow } = this.flows.table;
    let changes = 0;
    for (let i = 0; i < onTheWay.length; i++) {
      if (!this.#isLost(onTheWay[i], this.#path[i], i === 0)) continue;
      const other = onTheWay[i].pick(idHigh[row], idLow[row]);
      if (other !== this.#path[i]) changes++;
      this.#path[i] = other;
    }
    return changes;
  }

  /**
   * Whether a replica on a path must be chosen anew. One that has just come may be on paths of others before it is heard of
   * here: it stays, unless it is the next stop, which must have an address.
   */
  #isLost(set: ReplicaSet, id: number, isNext: boolean): boolean {
    if (set.has(id)) return false;
    return id === CHOOSE || isNext || this.#tables.state(id) !== ReplicaState.Unheard;
  }

  /** Functions that a flow visits from here to the other end. */
  #functionsOf(chain: ChainRevision): readonly ReplicaSet[] {
    if (!this.#isEgress) return chain.functions;
    return chain.symmetric ? chain.backward : NOWHERE;
  }

  /**
   * Makes the path on another revision, as Roulette does it: functions that stay keep their replicas, first those in their
   * place, then those that have moved along the chain; others are chosen. In the order of the way there at both ends.
   */
  #move(row: number, onTheWay: readonly ReplicaSet[]): void {
    const { prefixes, idHigh, idLow } = this.flows.table;
    const at = this.#at(row);
    const was = functions(prefixes, at);
    const count = onTheWay.length;
    const before = this.#before;
    for (let i = 0; i < was; i++) before[i] = replica(prefixes, at, this.#slot(i, was));
    for (let i = 0; i < count; i++) {
      const stays = i < was && onTheWay[this.#slot(i, count)].has(before[i]);
      this.#path[this.#slot(i, count)] = stays ? before[i] : CHOOSE;
      if (stays) before[i] = CHOOSE;
    }
    for (let i = 0; i < count; i++) {
      const slot = this.#slot(i, count);
      if (this.#path[slot] !== CHOOSE) continue;
      let k = 0;
      while (k < was && (before[k] === CHOOSE || !onTheWay[slot].has(before[k]))) k++;
      this.#path[slot] = k < was ? before[k] : onTheWay[slot].pick(idHigh[row], idLow[row]);
      if (k < was) before[k] = CHOOSE;
    }
  }

  /** Where the function that is `i`-th on the way there stands in a path from here. */
  #slot(i: number, count: number): number {
    return this.#isEgress ? count - 1 - i : i;
  }

  /** Writes the prefix with the path that was made. */
  #write(
    row: number,
    spi: number,
    newRevision: number,
    newGeneration: number,
    count: number,
    end: number,
  ): void {
    const { table } = this.flows;
    const prefix = this.#prefix;
    prefix.servicePath = this.#isEgress ? spi | RETURN : spi;
    prefix.flowHigh = table.idHigh[row];
    prefix.flowLow = table.idLow[row];
    prefix.revision = newRevision;
    prefix.generation = newGeneration;
    prefix.start = this.#tables.own;
    prefix.replicas = this.#views[count];
    prefix.end = end;
    table.servicePath[row] = prefix.servicePath;
    table.prefixLength[row] = emitPrefix(prefix, table.prefixes, table.prefixAt(row));
  }

  #at(row: number): number {
    return this.flows.table.prefixAt(row) + AT_PATH;
  }

  /** IP version of a flow's packets. */
  #familyOf(row: number): 4 | 6 {
    const { keys } = this.flows.table;
    return keys[this.flows.table.keyAt(row) + KeyCell.protocol] >> 8 === 6 ? 6 : 4;
  }
}
