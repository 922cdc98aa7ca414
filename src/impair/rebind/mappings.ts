/**
 * How flows are called outside of a NAT. The direction that goes up makes the names, the one that comes down looks them up;
 * both are apps of their own in one network, and find what they share by the link's name.
 *
 * Two tables of flow keys, each with a bound:
 *
 *   - flows, by the key that the inside knows, in the direction up: the name that each has now;
 *   - names, by the key that the outside knows, in the direction down: whose it is, and since when. Former names stay as long
 *     as there is room, so that what comes late is known for what it is.
 */
import type { Pool } from '../../engine/pool.ts';
import { equalKeys, KEY_CELLS, KeyCell } from '../../packet/flow-key.ts';
import { KeyTable, NONE } from '../../packet/key-table.ts';
import type { Aliases } from '../flows.ts';

/** Names for each flow that is told apart: the one that it has, and former ones. */
const NAMES = 2;

export class Mappings implements Aliases {
  /** Of the hashes of keys. */
  readonly secret: number;
  /** By name: the key of its flow as the inside knows it, KEY_CELLS each. */
  inside = new Int32Array(0);
  /** By name: the direction of what comes down, by that key. */
  directions = new Uint8Array(0);
  /** By name: when its flow got it, ns. */
  since = new Float64Array(0);
  readonly #limit: number;
  #names: KeyTable | undefined;
  #flows!: KeyTable;
  /** By flow: the name it has. */
  #now = new Int32Array(0);

  /** @param limit flows */
  constructor(limit: number, secret: number) {
    this.#limit = limit;
    this.secret = secret;
  }

  /** From now on there may be names. Links without a NAT have no memory for them. */
  begin(): void {
    if (this.#names !== undefined) return;
    const names = NAMES * this.#limit;
    this.#names = new KeyTable(names);
    this.inside = new Int32Array(names * KEY_CELLS);
    this.directions = new Uint8Array(names);
    this.since = new Float64Array(names);
    this.#flows = new KeyTable(this.#limit);
    this.#now = new Int32Array(this.#limit);
  }

  /** Names there are, former ones too. */
  get count(): number {
    return this.#names?.count ?? 0;
  }

  /** KEY_CELLS for each name, as the outside knows its flow. */
  get keys(): Int32Array {
    return this.#names!.keys;
  }

  /** Whether the flow's own end is the lower one of a name's key. */
  lower(name: number): boolean {
    return this.#names!.tags[name] === 1;
  }

  /** The same in the key that the inside knows. */
  insideLower(name: number): boolean {
    return this.directions[name] === 1;
  }

  /** The name by which the outside knows a flow, or NONE. @param direction of what comes down */
  find(key: Int32Array, direction: number): number {
    return this.#names!.find(key, direction);
  }

  /** The name that a flow has, as the inside knows it, or NONE. @param direction of what goes up */
  current(key: Int32Array, direction: number): number {
    const flow = this.#flows.find(key, direction);
    if (flow === NONE) return NONE;
    this.#flows.touch(flow);
    const name = this.#now[flow];
    // Another may have got it meanwhile.
    return this.isOf(name, key) ? name : NONE;
  }

  /** Its flow was heard of just now. */
  touch(name: number): void {
    this.#names!.touch(name);
  }

  /**
   * Gives a flow a name, which may have been another's.
   *
   * @param key as the inside knows the flow @param up the direction of what goes up, by that key
   * @param outside as the outside shall know it @param down the direction of what comes down, by that key
   * @param time from which on it has it: ns
   */
  give(key: Int32Array, up: number, outside: Int32Array, down: number, time: number): number {
    const names = this.#names!;
    const found = names.find(outside, down);
    const name = found === NONE ? names.insert(outside, down) : found;
    names.touch(name);
    this.inside.set(key, name * KEY_CELLS);
    this.directions[name] = 1 - up;
    this.since[name] = time;
    let flow = this.#flows.find(key, up);
    if (flow === NONE) flow = this.#flows.insert(key, up);
    this.#now[flow] = name;
    return name;
  }

  /** Whether a name is that of the flow with this key. */
  isOf(name: number, key: Int32Array): boolean {
    return equalKeys(this.inside, name * KEY_CELLS, key, 0);
  }

  /** Whether a flow is called outside what it is called inside. */
  unchanged(name: number): boolean {
    return equalKeys(this.keys, name * KEY_CELLS, this.inside, name * KEY_CELLS);
  }

  resolve(key: Int32Array, direction: 0 | 1): 0 | 1 {
    if (this.#names === undefined) return direction;
    const name = this.#names.find(key, direction);
    if (name === NONE) return direction;
    const at = name * KEY_CELLS;
    for (let i = 0; i <= KeyCell.hash; i++) key[i] = this.inside[at + i];
    return this.directions[name] === 1 ? 1 : 0;
  }
}

/** By the packet memory of a network, and there by the name of a link. */
const links = new WeakMap<Pool, Map<string, Mappings>>();

/** What both directions of a link in a network share. The first that asks says how many flows there may be. */
export function mappingsOf(pool: Pool, link: string, flows: number, secret: number): Mappings {
  let ofPool = links.get(pool);
  if (!ofPool) {
    ofPool = new Map();
    links.set(pool, ofPool);
  }
  let found = ofPool.get(link);
  if (!found) {
    found = new Mappings(flows, secret);
    ofPool.set(link, found);
  }
  return found;
}
