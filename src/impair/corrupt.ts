/**
 * `corrupt 0.1%`: bits of a wire packet are flipped. As on a wire its checksums, which are filled in first where offload left
 * them open, then tell; with `fixChecksum` they are made to agree, and the damage gets through to whoever listens.
 *
 * netem flips one bit, anywhere in the frame. Here the damage begins at the IP header, or behind it.
 */
import { z } from 'zod';
import type { AppReport } from '../engine/app.ts';
import { Reason } from '../engine/reasons.ts';
import * as ip from '../packet/ip.ts';
import * as ipv4 from '../packet/ipv4.ts';
import { Problem } from '../packet/problem.ts';
import { Protocol } from '../packet/protocol.ts';
import { completeChecksum } from '../packet/segment.ts';
import * as tcp from '../packet/tcp.ts';
import { fillTransport } from '../packet/transport.ts';
import * as udp from '../packet/udp.ts';
import { isFragment, upperDistance, upperProtocol } from '../packet/upper.ts';
import { Before, Chance } from './chance.ts';
import type { Draws } from './draw.ts';
import { row } from './marks.ts';
import { probability } from './quantities.ts';
import { SCOPES, Scoped } from './scope.ts';
import { PASS, SegmentStage } from './segment-stage.ts';
import type { ReadWords } from './spec/words.ts';
import type { StageContext } from './stage.ts';
import type { Train } from './train.ts';

const PLACES = ['l3', 'l4', 'payload'] as const;
const MOST_BITS = 64;

export const corruptSchema = z.strictObject({
  kind: z.literal('corrupt'),
  name: z.string().optional(),
  probability,
  /** Of neighbours, 0 to 1. */
  correlation: probability.default(0),
  /** Different bits that are flipped; all there are if there are fewer. */
  bits: z.number().int().min(1).max(MOST_BITS).default(1),
  /** Where the damage may begin: at the IP header, behind it, or behind that of TCP or UDP. */
  where: z.enum(PLACES).default('l3'),
  fixChecksum: z.boolean().default(false),
  scope: z.enum(SCOPES).default('flow'),
});
export type CorruptOptions = z.infer<typeof corruptSchema>;

/** `P [CORRELATION] [bits COUNT] [where l3|l4|payload] [fixChecksum] [scope flow|link]` */
export const corruptWords: ReadWords = (words) => ({
  probability: words.take('share'),
  correlation: words.maybe('share'),
  ...words.keys({ bits: 'count', where: PLACES, fixChecksum: 'flag', scope: SCOPES }),
});

const CORRUPT = 1;

export class Corrupt extends SegmentStage {
  #options!: CorruptOptions;
  #chance!: Chance;
  #scoped!: Scoped;
  readonly #draws: Draws;
  /** One for each bit. */
  readonly #places: Draws[] = [];
  readonly #flipped = new Int32Array(MOST_BITS);
  /** Wire packets with damage, and those in which there was nothing to damage. */
  readonly #counts = new Float64Array(2);

  constructor(name: string, context: StageContext, options: CorruptOptions) {
    super(name, context);
    this.#draws = this.draws('corrupt');
    this.reconfigure(options);
  }

  reconfigure(options: CorruptOptions): void {
    if (this.#scoped?.scope !== options.scope) this.#scoped = new Scoped(options.scope, this.context);
    this.#options = options;
    this.#chance = new Chance(options.probability, options.correlation);
    while (this.#places.length < options.bits) this.#places.push(this.draws(`bit ${this.#places.length}`));
  }

  override details(): AppReport {
    return { corrupted: this.#counts[0], empty: this.#counts[1] };
  }

  protected decide(mark: number, segment: number): number {
    const { state } = this.#scoped;
    const place = this.#scoped.place(mark);
    const next = this.#chance.next(this.#scoped.draw(this.#draws, mark, segment), state[place]);
    state[place] = next;
    return next === Before.Happened ? CORRUPT : PASS;
  }

  protected act(packet: number, _decision: number, to: Train): void {
    const { pool } = this;
    if (!pool.own(packet)) {
      this.drop(packet, Reason.NoMemory);
      return;
    }
    const at = pool.offset[packet];
    const end = at + pool.length[packet];
    const open = pool.checksumStart[packet];
    if (open >= 0) {
      if (!completeChecksum(pool.slab, at, pool.length[packet], open, pool.checksumOffset[packet])) {
        this.drop(packet, Reason.Malformed);
        return;
      }
      pool.checksumStart[packet] = -1;
    }
    const l3 = at + pool.l3Offset[packet];
    const from = this.#start(l3, end);
    if (from < end) {
      const flipped = this.#flip(row(packet), from, end);
      this.marks.log?.corrupt(packet, this.name, this.#flipped, flipped, (from - l3) * 8);
      if (this.#options.fixChecksum) this.#mend(l3, end);
      this.#counts[0]++;
    } else {
      this.#counts[1]++;
    }
    to.add(packet);
  }

  /** Where the damage may begin; `end` when there is no such place. */
  #start(l3: number, end: number): number {
    const { slab } = this.pool;
    const { where } = this.#options;
    if (where === 'l3') return Math.min(l3, end);
    if (ip.check(slab, l3, end) !== Problem.None) return end;
    const upper = ip.upper(slab, l3);
    if (upper < 0) return end;
    const transport = l3 + upperDistance(upper);
    if (where === 'l4' || isFragment(upper)) return Math.min(transport, end);
    const protocol = upperProtocol(upper);
    if (protocol === Protocol.Udp) return Math.min(transport + udp.HEADER, end);
    if (protocol !== Protocol.Tcp) return Math.min(transport, end);
    return tcp.check(slab, transport, end) === Problem.None
      ? Math.min(transport + tcp.headerLength(slab, transport), end)
      : end;
  }

  /** Flips as many different bits as asked for, and says how many: for one that is flipped already, the next one. */
  #flip(mark: number, from: number, end: number): number {
    const { slab } = this.pool;
    const all = (end - from) * 8;
    const count = Math.min(this.#options.bits, all);
    for (let i = 0; i < count; i++) {
      const draw = this.#scoped.draw(this.#places[i], mark, 0);
      let bit = Math.floor((draw * all) / 4294967296);
      for (let before = 0; before < i; ) {
        if (this.#flipped[before] === bit) {
          bit = (bit + 1) % all;
          before = 0;
        } else before++;
      }
      this.#flipped[i] = bit;
      slab[from + (bit >> 3)] ^= 0x80 >> (bit & 7);
    }
    return count;
  }

  /** Headers that are still some: their checksums agree with what is there now. */
  #mend(l3: number, end: number): void {
    const { slab } = this.pool;
    if (ip.check(slab, l3, end) !== Problem.None) return;
    if (ip.version(slab, l3) === 4) ipv4.fillChecksum(slab, l3);
    fillTransport(slab, l3);
  }
}
