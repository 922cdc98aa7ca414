/**
 * What passes between the two halves of a member, as plain data that can be cloned between threads: the control half talks to Roulette,
 * the packet half (the app `hop` or `end`) moves packets and asks nobody.
 */
import type { TracedHop } from '../roulette/model/model.ts';
import type { TableUpdate, TraceQuestion } from '../tables/update.ts';
import type { PacketFigures } from './figures.ts';

/** The packet half as its control half sees it. */
export interface ChainControlled {
  /** Between breaths. */
  update(update: TableUpdate): void;
  /** What it has to tell, at most once; undefined: nothing. */
  takeNews(): MemberNews | undefined;
  /** Called when there is something to take, not again before it was taken. */
  onNews: (() => void) | undefined;
}

/** A flow where its end has put it. Registered behind the packet; what Roulette holds wins. */
export interface PlacedFlow {
  /** 16 hexadecimal digits. */
  id: string;
  /** What the id was made of, in printable characters. */
  key: string;
  spi: number;
  revision: number;
  /** Of the path, 16 bits; 0 before Roulette's first word on it. */
  generation: number;
  /** A replica for each function; 0 where none was there to be chosen. */
  path: number[];
  egress: number;
}

export interface MemberNews {
  /** New, moved to another revision, or mended: to be registered. */
  flows?: PlacedFlow[];
  /** Flow ids that had packets: at most every quarter of the idle time each, and when an egress meets one first. */
  touched?: string[];
  suspects?: Suspicion[];
  /** What has passed so far, when that was asked for. */
  figures?: PacketFigures;
  /** Of flows that are known here. */
  traces?: TracedPath[];
}

/** What came of a probe along a flow's path: each hop, and the far end. */
export interface TracedPath extends TraceQuestion {
  hops: TracedHop[];
}

export interface Suspicion {
  replica: number;
  /** `refused`: the system there says that nobody listens; `silent`: no answer to probes. */
  evidence: 'refused' | 'silent';
}
