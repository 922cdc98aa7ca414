/**
 * The streams of a link. One clock ticks for all readers while there are any:
 *
 *   1. whose interval is over is due, and those of one interval are due together;
 *   2. the link is looked at once for all that are due and have room, for as many rules as the most curious of them wants;
 *   3. each gets what it asked for: stats, flows once a second at most, and the drops since it was told the last ones.
 *
 * A tick that is not done when the next one is due takes its place: a link that answers late has fewer looks, not more waiting.
 */
import type { WebSocket } from 'ws';
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { Reader } from '../http/reader.ts';
import {
  type FLOW_SORTS,
  type HelloMessage,
  PARTS,
  type Part,
  type Stats,
  type StreamMessage,
  type streamQuery,
} from './contract.ts';
import { dropsInWords, PendingDrops } from './drops.ts';
import type { FlowTable } from './flow-table.ts';
import type { ImpairedLink } from './link.ts';

const TICK = 50 * MILLISECOND;
const LEAST = 100;
const MOST = 60_000;
/** Flows come no more often, ns. */
const FLOWS = SECOND;
const READERS = 32;

export interface StreamRequest {
  /** ns */
  interval: number;
  parts: ReadonlySet<Part>;
  rules: number;
  flows: number;
  sort: (typeof FLOW_SORTS)[number];
}

/** @throws ERR_USAGE */
export function streamRequest(query: ReturnType<typeof streamQuery.parse>): StreamRequest {
  const [, digits, unit] = /^(\d+)(ms|s)?$/.exec(query.interval)!;
  const ms = Number(digits) * (unit === 's' ? 1000 : 1);
  if (ms < LEAST || ms > MOST) throw refuse('interval', query.interval, '100ms to 60s');
  const parts = query.parts.split(',').filter((part) => part !== '');
  const unknown = parts.find((part) => !(PARTS as readonly string[]).includes(part));
  if (unknown !== undefined) throw refuse('parts', unknown, PARTS.join(', '));
  const { rules, flows, sort } = query;
  return { interval: ms * MILLISECOND, parts: new Set(parts as Part[]), rules, flows, sort };
}

const refuse = (path: string, found: string, expected: string) =>
  new TunconnectorError('ERR_USAGE', `${path}: found "${found}", expected ${expected}`, {
    place: { path, found, expected },
  });

interface Subscriber extends StreamRequest {
  reader: Reader;
  due: number;
  flowsDue: number;
  drops: PendingDrops;
}

export class Streams {
  /** Of all readers there were. */
  readonly counts = { messages: 0, skipped: 0, late: 0 };
  readonly #link: ImpairedLink;
  readonly #runtime: Runtime;
  readonly #subscribers = new Set<Subscriber>();
  #cancel: (() => void) | undefined;
  #ticking = false;
  #watching = false;

  constructor(link: ImpairedLink, runtime: Runtime) {
    this.#link = link;
    this.#runtime = runtime;
    link.on('changed', (revision) => {
      for (const each of this.#subscribers)
        if (this.#hasRoom(each)) this.#send(each, { type: 'spec', revision });
    });
  }

  get size(): number {
    return this.#subscribers.size;
  }

  /** @throws ERR_BUSY when there are as many as there may be */
  admit(): void {
    if (this.size < READERS) return;
    throw new TunconnectorError('ERR_BUSY', `${READERS} streams are open already`, {
      remedy: 'close one of them',
    });
  }

  add(socket: WebSocket, request: StreamRequest): void {
    const now = this.#runtime.now();
    const late = () => {
      this.counts.late++;
    };
    const subscriber: Subscriber = {
      ...request,
      reader: new Reader(socket, now, late),
      // The first thing it hears is who is there.
      due: Number.POSITIVE_INFINITY,
      flowsDue: 0,
      drops: new PendingDrops(),
    };
    this.#subscribers.add(subscriber);
    socket.once('close', () => this.#remove(subscriber));
    void this.#hello(subscriber);
    this.#arm();
  }

  close(): void {
    this.#cancel?.();
    for (const { reader } of this.#subscribers) reader.close();
    this.#subscribers.clear();
  }

  async #hello(subscriber: Subscriber): Promise<void> {
    const { left, right, seed, revision, startOfTime } = this.#link;
    const at = await this.#link.stats(0).then(
      (stats) => stats.at,
      () => 0,
    );
    const time = new Date(Number(startOfTime / 1_000_000n) + at / MILLISECOND).toISOString();
    const interval = subscriber.interval / MILLISECOND;
    const hello = { type: 'hello', version: 1, revision, left, right, seed, at, time, interval } as const;
    this.#send(subscriber, hello satisfies HelloMessage);
    subscriber.due = nextOf(this.#runtime.now(), subscriber.interval);
  }

  #remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
    if (!this.#watching || this.#watchers().length > 0) return;
    this.#watching = false;
    this.#link.unwatchDrops().catch(() => {});
  }

  #watchers(): Subscriber[] {
    return [...this.#subscribers].filter(({ parts }) => parts.has('drops'));
  }

  #arm(): void {
    if (this.#cancel || this.size === 0) return;
    this.#cancel = this.#runtime.timer(nextOf(this.#runtime.now(), TICK), () => {
      this.#cancel = undefined;
      this.#arm();
      void this.#tick();
    });
  }

  async #tick(): Promise<void> {
    const now = this.#runtime.now();
    for (const { reader } of this.#subscribers) reader.look(now);
    if (this.#ticking) return;
    const due = [...this.#subscribers].filter((each) => each.due <= now);
    if (due.length === 0) return;
    this.#ticking = true;
    try {
      for (const each of due) each.due = nextOf(now, each.interval);
      await this.#tell(due, now);
    } catch {
      // The link has ended, and its streams end with it.
    } finally {
      this.#ticking = false;
    }
  }

  async #tell(due: readonly Subscriber[], now: number): Promise<void> {
    const wants = (part: Part) => due.filter((each) => each.parts.has(part) && this.#hasRoom(each));
    const curious = wants('stats');
    if (curious.length > 0) {
      const stats = await this.#link.stats(Math.max(...curious.map(({ rules }) => rules)));
      for (const each of curious) this.#sendStats(each, stats);
    }
    const lookers = due.filter(
      (each) => each.parts.has('flows') && each.flowsDue <= now && this.#hasRoom(each),
    );
    if (lookers.length > 0) {
      const table = await this.#link.flows();
      for (const each of lookers) this.#sendFlows(each, table, now);
    }
    const watchers = wants('drops');
    if (watchers.length > 0) {
      this.#watching = true;
      const { shown, total } = dropsInWords(await this.#link.drops());
      for (const each of this.#watchers()) each.drops.add(shown, total);
      for (const each of watchers) this.#sendDrops(each);
    }
  }

  #sendStats(subscriber: Subscriber, { up, down, ...rest }: Stats): void {
    const { skipped } = subscriber.reader;
    const some = (direction: Stats['up']) => ({
      ...direction,
      rules: direction.rules.slice(0, subscriber.rules + 1),
    });
    this.#send(subscriber, { type: 'stats', skipped, ...rest, up: some(up), down: some(down) });
  }

  #sendFlows(subscriber: Subscriber, table: FlowTable, now: number): void {
    subscriber.flowsDue = now + FLOWS - TICK;
    const { flows: top, sort } = subscriber;
    this.#send(subscriber, { type: 'flows', ...table.select({ top, offset: 0, sort }) });
  }

  #sendDrops(subscriber: Subscriber): void {
    const pending = subscriber.drops.take();
    if (pending) this.#send(subscriber, { type: 'drops', ...pending });
  }

  #hasRoom({ reader }: Subscriber): boolean {
    const room = reader.hasRoom();
    if (!room) this.counts.skipped++;
    return room;
  }

  #send({ reader }: Subscriber, message: StreamMessage): void {
    reader.send(JSON.stringify(message));
    this.counts.messages++;
  }
}

/** The next multiple of `step` behind `now`: what has the same step falls together. */
const nextOf = (now: number, step: number): number => (Math.floor(now / step) + 1) * step;
