/**
 * What watchers are sent. Nothing is buffered for anybody: a stream knows its place in the history that all share, and sends on
 * while there is room. One that is so slow that its place is gone is cut off; it comes again and gets a snapshot.
 */
import { History } from '../history.ts';
import { KINDS, type Kind, keyOf, type TenantId } from '../model/model.ts';
import type { News, Registry } from '../registry.ts';
import { type FeedMessage, PART, type WatchRequest } from './messages.ts';

interface Told {
  readonly rev: number;
  readonly news: readonly News[];
}

export interface Sink {
  /** False: not taken, there is no room. `Stream.resume()` says that there is room again. */
  send(message: FeedMessage): boolean;
  /** As the last call: too slow, or the store had to be read anew. The watcher may come again. */
  onEnd(reason: 'slow' | 'reset'): void;
}

export class Feed {
  readonly #registry: Registry;
  readonly #store: string;
  readonly #limit: number;
  #history: History<Told>;
  readonly #streams = new Set<Stream>();
  /** Streams that were cut off. */
  cut = 0;

  /** @param limit changes that a watcher may be behind */
  constructor(registry: Registry, store: string, limit: number) {
    this.#registry = registry;
    this.#store = store;
    this.#limit = limit;
    this.#history = new History(limit, registry.rev);
  }

  get streams(): number {
    return this.#streams.size;
  }

  open(tenant: TenantId, { from, kinds }: WatchRequest, sink: Sink): Stream {
    // What is ahead of this Roulette was told by another one on the same store.
    const resumes = from !== undefined && from.store === this.#store && from.rev >= this.#history.floor;
    const end = (stream: Stream, reason: 'slow' | 'reset') => {
      if (!this.#streams.delete(stream)) return;
      if (reason === 'slow') this.cut++;
      sink.onEnd(reason);
    };
    const wanted = new Set((kinds ?? KINDS) as Kind[]);
    const stream: Stream = new Stream(sink, tenant, wanted, {
      registry: this.#registry,
      history: () => this.#history,
      end: (reason) => end(stream, reason),
    });
    this.#streams.add(stream);
    if (resumes) stream.startFrom(from.rev);
    else stream.startWithSnapshot(this.#store);
    return stream;
  }

  close(stream: Stream): void {
    this.#streams.delete(stream);
    stream.close();
  }

  publish(rev: number, news: readonly News[]): void {
    const changed = news.filter((each) => each.changed);
    if (changed.length > 0) this.#history.push({ rev, news: changed });
    for (const stream of [...this.#streams]) stream.pump();
  }

  beat(): void {
    for (const stream of [...this.#streams]) stream.beat();
  }

  /** The registry was read anew: what happened in between is not known. */
  reset(): void {
    this.#history = new History(this.#limit, this.#registry.rev);
    for (const stream of [...this.#streams]) stream.end('reset');
  }
}

interface Source {
  registry: Registry;
  history: () => History<Told>;
  end: (reason: 'slow' | 'reset') => void;
}

export class Stream {
  readonly #sink: Sink;
  readonly #tenant: TenantId;
  readonly #kinds: ReadonlySet<Kind>;
  readonly #source: Source;
  /** Parts that are still to be sent. */
  #snapshot: FeedMessage[] | undefined;
  /** Everything until here was looked at. */
  #position = 0;
  /** The revision in the last message. */
  #said = 0;
  #open = true;

  constructor(sink: Sink, tenant: TenantId, kinds: ReadonlySet<Kind>, source: Source) {
    this.#sink = sink;
    this.#tenant = tenant;
    this.#kinds = kinds;
    this.#source = source;
  }

  startFrom(rev: number): void {
    this.#position = this.#said = rev;
    this.pump();
    this.beat();
  }

  startWithSnapshot(store: string): void {
    const { rev } = this.#source.registry;
    this.#position = this.#said = rev;
    this.#snapshot = this.#parts(store, rev);
    this.pump();
  }

  /** There is room again. */
  resume(): void {
    this.pump();
  }

  /** Sends what there is, while there is room. */
  pump() {
    while (this.#open && this.#snapshot) {
      if (!this.#sink.send(this.#snapshot[0])) break;
      this.#snapshot.shift();
      if (this.#snapshot.length === 0) this.#snapshot = undefined;
    }
    const history = this.#source.history();
    while (this.#open) {
      if (this.#position < history.floor) return this.end('slow');
      if (this.#snapshot) return;
      const told = history.after(this.#position);
      if (!told) return;
      const ops = told.news.filter((news) => this.#isWanted(news)).map(opOf);
      if (ops.length > 0) {
        if (!this.#sink.send({ t: 'ev', rev: told.rev, prev: this.#said, ops })) return;
        this.#said = told.rev;
      }
      this.#position = told.rev;
    }
  }

  /** Says that it is alive, and how far it is: only when there is nothing else to say. */
  beat() {
    const { rev } = this.#source.registry;
    if (!this.#open || this.#snapshot || rev < this.#position) return;
    if (this.#source.history().after(this.#position)) return this.pump();
    if (!this.#sink.send({ t: 'beat', rev, prev: this.#said })) return;
    this.#position = this.#said = rev;
  }

  end(reason: 'slow' | 'reset') {
    this.close();
    this.#source.end(reason);
  }

  close(): void {
    this.#open = false;
    this.#snapshot = undefined;
  }

  #isWanted({ tenant, kind }: News): boolean {
    return tenant === this.#tenant && this.#kinds.has(kind);
  }

  #parts(store: string, rev: number): FeedMessage[] {
    const view = this.#source.registry.view(this.#tenant);
    const entries = [...this.#kinds].flatMap((kind) =>
      [...view.all(kind).values()].map(({ name, rev, text }) => ({
        key: keyOf(this.#tenant, kind, name),
        rev,
        val: text,
      })),
    );
    const parts: FeedMessage[] = [];
    for (let at = 0; at === 0 || at < entries.length; at += PART) {
      const last = at + PART >= entries.length;
      parts.push({ t: 'snap', store, rev, part: parts.length, last, entries: entries.slice(at, at + PART) });
    }
    return parts;
  }
}

const opOf = ({ tenant, kind, name, text }: News) => {
  const key = keyOf(tenant, kind, name);
  return text === undefined ? { op: 'delete' as const, key } : { op: 'put' as const, key, val: text };
};
