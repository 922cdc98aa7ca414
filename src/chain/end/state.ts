/** What both directions of an end work with. */
import { IcmpReplies } from '../../engine/icmp-replies.ts';
import type { Pool } from '../../engine/pool.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { decrementTtl } from '../../packet/ttl.ts';
import { prefixes } from '../../tunnel/options.ts';
import { FlowKeys } from '../flow-keys.ts';
import { Fragments } from '../fragments.ts';
import { Answers } from '../hop/answers.ts';
import { Neighbours } from '../hop/neighbours.ts';
import { ChainTables } from '../tables/index.ts';
import { Counts } from './counts.ts';
import type { CheckedEnd } from './options.ts';
import { Paths } from './paths.ts';
import { EndDrop } from './reasons.ts';

export class EndState {
  readonly tables = new ChainTables();
  readonly options: CheckedEnd;
  readonly isIngress: boolean;
  /** The flows, and where they go. */
  readonly placing: Paths;
  readonly counts = new Counts();
  readonly icmp: IcmpReplies;
  readonly answers = new Answers();
  /** Of what this end sends to: the first stops of its flows. */
  readonly neighbours: Neighbours;
  fragments: Fragments;
  keys: FlowKeys;
  /** Of the last packet that did not pass: the ICMP error to its sender, or -1. */
  expired = -1;

  constructor(options: CheckedEnd) {
    this.options = options;
    this.isIngress = options.role === 'ingress';
    this.placing = new Paths(this.tables, options);
    this.neighbours = new Neighbours(this.tables, options.tenant, options.encapsulation);
    this.icmp = new IcmpReplies(prefixes('addresses', options.addresses, true));
    this.fragments = new Fragments({ held: options.heldFragments });
    this.keys = new FlowKeys(this.fragments, 0);
  }

  /** Takes one off a packet's TTL, as each end is a router. False: the packet was dropped, see `expired`. */
  passes(pool: Pool, packet: number, now: number): boolean {
    this.expired = -1;
    if (!pool.own(packet)) {
      pool.drop(packet, EndDrop.NoMemory);
      return false;
    }
    if (decrementTtl(pool.slab, pool.offset[packet])) return true;
    this.expired = this.icmp.timeExceeded(pool, packet, now);
    pool.drop(packet, EndDrop.TtlExpired);
    return false;
  }

  /** Nobody who sends may know in which bucket a key is. */
  seed(runtime: Runtime): void {
    const seeds = new Int32Array(runtime.secret(8).slice().buffer);
    this.fragments = new Fragments({ held: this.options.heldFragments, seed: seeds[0] });
    this.keys = new FlowKeys(this.fragments, seeds[1]);
  }
}
