/**
 * `rebind 10s every 30s`: a NAT that forgets. Up to a time a flow keeps its own address and port outside; from then on it has
 * another port there, drawn for it, or with `address` another address too. What comes to a name that a flow has no longer is
 * dropped, as a NAT does.
 *
 *   1. up: a TCP or UDP packet goes out by its flow's name. A flow without one gets its own, if that is free; one whose name
 *      is over gets another;
 *   2. down: a packet to a name goes in to its flow while the name lasts, and for `grace` longer. What comes to none passes
 *      as it is;
 *   3. ICMP errors go the way of the packet that they quote, and have the quote translated too.
 *
 * Both directions count by the times at which packets come to them, and so agree on when a name is over.
 */

import { z } from 'zod';
import type { AppReport } from '../../engine/app.ts';
import { portsSchema } from '../../engine/flow-match.ts';
import { Reason } from '../../engine/reasons.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { flowFromKey, flowKey, hashKey, KEY_CELLS, KeyCell, replaceEndpoint } from '../../packet/flow-key.ts';
import * as ip from '../../packet/ip.ts';
import { NONE } from '../../packet/key-table.ts';
import { formatEndpoint, type IpPrefix, parsePrefix } from '../../packet/prefix.ts';
import { Problem } from '../../packet/problem.ts';
import { Protocol } from '../../packet/protocol.ts';
import { translate } from '../../packet/translate.ts';
import { isFragment, upperProtocol } from '../../packet/upper.ts';
import type { Draws } from '../draw.ts';
import { row } from '../marks.ts';
import { time } from '../quantities.ts';
import { ImpairDrop } from '../reasons.ts';
import type { ReadWords } from '../spec/words.ts';
import { Stage, type StageContext } from '../stage.ts';
import type { Train } from '../train.ts';
import { AddressPool } from './address-pool.ts';

/** Addresses or prefixes, also as words with commas between them. */
const prefixes = z
  .union([z.string(), z.array(z.string())])
  .transform((value) => (typeof value === 'string' ? value.split(',') : value))
  .refine((all) => all.every(isPrefix), 'expected prefixes such as 198.51.100.0/24');

function isPrefix(text: string): boolean {
  try {
    parsePrefix(text, { length: 'host' });
    return true;
  } catch (error) {
    if (error instanceof TunconnectorError) return false;
    throw error;
  }
}

export const rebindSchema = z.strictObject({
  kind: z.literal('rebind'),
  name: z.string().optional(),
  /** When flows that are there get other names. */
  first: time,
  /** And how often again. */
  every: time.refine((value) => value >= MILLISECOND, 'at least 1ms').optional(),
  /** What ports are drawn from. */
  ports: portsSchema.default({ min: 1024, max: 65535 }),
  /** What addresses are drawn from, by family; flows of another one keep theirs. */
  address: prefixes.optional(),
  /** How long what comes to a former name still passes. */
  grace: time.default(0),
});
export type RebindOptions = z.infer<typeof rebindSchema>;

/** `FIRST [every TIME] [ports MIN-MAX] [address PREFIX] [grace TIME]` */
export const rebindWords: ReadWords = (words) => ({
  first: words.take('time'),
  ...words.keys({ every: 'time', ports: 'word', address: 'word', grace: 'time' }),
});

/** Ports behind the drawn one that are tried when it is taken. */
const TRIES = 256;

export class Rebind extends Stage {
  #first = 0;
  #every = 0;
  #grace = 0;
  #ports = { min: 0, max: 0 };
  #addresses: AddressPool | undefined;
  readonly #draws: Draws;
  readonly #up: boolean;
  #rebound = 0;
  readonly #key = new Int32Array(KEY_CELLS);
  readonly #outside = new Int32Array(KEY_CELLS);
  /** The address of a new name. */
  readonly #words = new Int32Array(4);

  constructor(name: string, context: StageContext, options: RebindOptions) {
    super(name, context);
    this.#draws = this.draws('port');
    this.#up = context.direction === 'up';
    context.mappings.begin();
    this.reconfigure(options);
  }

  /** Names stay until they are over by the new times. */
  reconfigure({ first, every = 0, ports, address, grace }: RebindOptions): void {
    this.#first = first;
    this.#every = every;
    this.#grace = grace;
    this.#ports = ports;
    const parsed = address?.map((text): IpPrefix => parsePrefix(text, { length: 'host' }));
    this.#addresses = parsed && new AddressPool(parsed, this.draws('address'));
  }

  run(from: Train, to: Train): void {
    for (let i = 0; i < from.count; i++) {
      const packet = from.packets[i];
      if (this.#up ? this.#goOut(packet) : this.#comeIn(packet)) to.add(packet);
    }
  }

  override details(): AppReport {
    return this.#up ? { rebound: this.#rebound, names: this.context.mappings.count } : {};
  }

  /** False when the packet is gone. */
  #goOut(packet: number): boolean {
    const { mappings } = this.context;
    const protocol = this.#protocol(packet);
    if (protocol < 0) return true;
    const direction = this.#keyOf(packet);
    if (direction < 0) return true;
    let name = mappings.current(this.#key, direction);
    if (protocol === Protocol.Tcp || protocol === Protocol.Udp) {
      if (name === NONE || this.#over(name, row(packet), 0)) {
        name = this.#rename(packet, direction, name);
        if (name === NONE) {
          this.drop(packet, ImpairDrop.NoPort);
          return false;
        }
      }
    } else if (name === NONE) {
      // An error about what has no name.
      return true;
    }
    mappings.touch(name);
    return mappings.unchanged(name) || this.#translate(packet, name, mappings.keys, mappings.lower(name));
  }

  #comeIn(packet: number): boolean {
    const { mappings } = this.context;
    if (this.#protocol(packet) < 0) return true;
    const direction = this.#keyOf(packet);
    if (direction < 0) return true;
    const name = mappings.find(this.#key, direction);
    if (name === NONE) return true;
    if (this.#over(name, row(packet), this.#grace)) {
      this.drop(packet, ImpairDrop.Rebound);
      return false;
    }
    mappings.touch(name);
    return (
      mappings.unchanged(name) || this.#translate(packet, name, mappings.inside, mappings.insideLower(name))
    );
  }

  /** What is translated: TCP, UDP, and ICMP, of which `translate` takes the errors; -1 for all else. */
  #protocol(packet: number): number {
    const { slab, offset, length, l3Offset } = this.pool;
    const at = offset[packet] + l3Offset[packet];
    if (ip.check(slab, at, offset[packet] + length[packet]) !== Problem.None) return -1;
    const upper = ip.upper(slab, at);
    if (upper < 0 || isFragment(upper)) return -1;
    const protocol = upperProtocol(upper);
    const known =
      protocol === Protocol.Tcp ||
      protocol === Protocol.Udp ||
      protocol === Protocol.Icmp ||
      protocol === Protocol.Icmpv6;
    return known ? protocol : -1;
  }

  #keyOf(packet: number): number {
    const { slab, offset, length, l3Offset } = this.pool;
    const { secret } = this.context.mappings;
    const at = offset[packet];
    return flowKey(slab, at + l3Offset[packet], at + length[packet], this.#key, secret);
  }

  /** Whether a name that a flow got at some time was over `grace` before this packet came. */
  #over(name: number, mark: number, grace: number): boolean {
    const since = this.context.mappings.since[name];
    const at = this.marks.at[mark] - grace;
    const first = this.#first;
    if (at < first) return false;
    if (since < first) return true;
    return this.#every > 0 && this.#period(since) < this.#period(at);
  }

  /** Which period a time from `first` on is in. */
  #period(at: number): number {
    return Math.floor((at - this.#first) / this.#every);
  }

  /** A name for the flow of `#key`: for a new one with its own port, if that is free. NONE when no port is left. */
  #rename(packet: number, up: number, former: number): number {
    const lower = up === 0;
    const key = this.#key;
    const at = this.marks.at[row(packet)];
    const end = lower ? KeyCell.lower : KeyCell.higher;
    for (let i = 0; i < 4; i++) this.#words[i] = key[end + i];
    const period = at < this.#first ? -1 : this.#every === 0 ? 0 : this.#period(at);
    if (period >= 0) this.#addresses?.find(key[KeyCell.protocol] >> 8, this.#words, period);
    if (former === NONE) {
      const port = lower ? key[KeyCell.ports] >>> 16 : key[KeyCell.ports] & 0xffff;
      const down = this.#outsideKey(lower, port);
      if (this.#isFree(packet, down, NONE)) return this.#give(packet, up, down, at);
    }
    const { min, max } = this.#ports;
    const count = max - min + 1;
    const drawn = Math.floor((this.#draws.at(hashKey(key), period) * count) / 4294967296);
    // Rather a name that nobody had than one that is over, for which something may still come.
    let second = NONE;
    for (let i = 0; i < Math.min(count, TRIES); i++) {
      const down = this.#outsideKey(lower, min + ((drawn + i) % count));
      if (this.context.mappings.find(this.#outside, down) === NONE) return this.#give(packet, up, down, at);
      if (second === NONE && this.#isFree(packet, down, former)) second = i;
    }
    if (second === NONE) return NONE;
    return this.#give(packet, up, this.#outsideKey(lower, min + ((drawn + second) % count)), at);
  }

  /** Whether nobody has the name in `#outside` any more. @param former name that is not to be given again */
  #isFree(packet: number, down: number, former: number): boolean {
    const { mappings } = this.context;
    const name = mappings.find(this.#outside, down);
    if (name === NONE || (former === NONE && mappings.isOf(name, this.#key))) return true;
    return name !== former && this.#over(name, row(packet), this.#grace);
  }

  /** The key with the new address and a port; returns the direction of what comes down. */
  #outsideKey(lower: boolean, port: number): number {
    this.#outside.set(this.#key);
    const { secret } = this.context.mappings;
    return replaceEndpoint(this.#outside, lower, this.#words, 0, port, secret) ? 1 : 0;
  }

  /** Gives the flow of `#key` the name in `#outside`. */
  #give(packet: number, up: number, down: number, at: number): number {
    const { mappings } = this.context;
    const name = mappings.give(this.#key, up, this.#outside, down, at);
    if (!mappings.unchanged(name)) {
      this.#rebound++;
      if (this.marks.log !== null) {
        const { a, b } = flowFromKey(this.#outside);
        this.marks.log.rebind(packet, this.name, formatEndpoint(down === 1 ? a : b));
      }
    }
    return name;
  }

  /** False when the packet is gone. @param keys of names, in which the flow's own end is the lower or the higher one */
  #translate(packet: number, name: number, keys: Int32Array, lower: boolean): boolean {
    const { pool } = this;
    if (!pool.own(packet)) {
      this.drop(packet, Reason.NoMemory);
      return false;
    }
    const key = name * KEY_CELLS;
    const ports = keys[key + KeyCell.ports];
    translate(
      pool.slab,
      pool.offset[packet] + pool.l3Offset[packet],
      pool.offset[packet] + pool.length[packet],
      this.#up,
      keys,
      key + (lower ? KeyCell.lower : KeyCell.higher),
      lower ? ports >>> 16 : ports & 0xffff,
      pool.checksumStart[packet] >= 0,
    );
    return true;
  }
}
