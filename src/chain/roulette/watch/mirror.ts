/**
 * What an ingress, a VNF runtime or an egress knows of its tenant: a copy kept up to date by a watch. With Roulette gone it is as it was
 * last. Messages and time in; out comes whether the connection is still worth something.
 *
 * Whoever holds it opens a connection, sends `hello()`, gives each message to `receive()`, and asks `isSilent()` now and then.
 * On `renew`, silence, or a broken connection: a new connection, perhaps to another Roulette, and `hello()` again.
 */
import { type Kind, parseKey, type TenantId } from '../model/model.ts';
import { TenantView } from '../model/view.ts';
import { type FeedMessage, feedMessage, SILENCE, type WatchRequest } from './messages.ts';

/** `renew`: this connection has lost something, or sends what is none. */
export type Verdict = 'fine' | 'renew';

export interface MirrorOptions {
  /** What to know of; everything when left out. */
  kinds?: readonly Kind[];
  /** Something has changed; without a name: everything may have. */
  onChange?(kind?: Kind, name?: string): void;
}

export class Mirror {
  readonly #tenant: TenantId;
  readonly #options: MirrorOptions;
  #view = new TenantView();
  #store = '';
  #rev = 0;
  #heard: number;
  /** Something came that cannot be: the next state is fetched whole. */
  #distrusts = false;
  /** A snapshot of which parts are still to come. */
  #growing: { view: TenantView; rev: number; store: string; parts: number } | undefined;
  /** What was noticed, since the start. */
  readonly counters = { gaps: 0, misfits: 0, snapshots: 0, events: 0, beats: 0 };

  /** @param now ns */
  constructor(tenant: TenantId, now: number, options: MirrorOptions = {}) {
    this.#tenant = tenant;
    this.#options = options;
    this.#heard = now;
  }

  /** The last state that was whole; empty before the first. Another object after each snapshot. */
  get view(): TenantView {
    return this.#view;
  }

  /** The revision of the view. */
  get rev(): number {
    return this.#rev;
  }

  /** Whether there is a state at all. */
  get isFilled(): boolean {
    return this.#store !== '';
  }

  /** The first message on a new connection. */
  hello(now: number): WatchRequest {
    this.#heard = now;
    this.#growing = undefined;
    const { kinds } = this.#options;
    return {
      t: 'watch',
      ...(this.isFilled && !this.#distrusts && { from: { store: this.#store, rev: this.#rev } }),
      ...(kinds && { kinds: [...kinds] }),
    };
  }

  /** Whether so long nothing has come that the connection is taken for dead. */
  isSilent(now: number): boolean {
    return now - this.#heard >= SILENCE;
  }

  receive(message: unknown, now: number): Verdict {
    const parsed = feedMessage.safeParse(message);
    if (!parsed.success) return this.#misfit();
    this.#heard = now;
    return this.#take(parsed.data);
  }

  #take(message: FeedMessage): Verdict {
    if (message.t === 'snap') return this.#grow(message);
    if (this.#growing) return this.#misfit();
    if (message.prev !== this.#rev || message.rev < this.#rev) {
      this.counters.gaps++;
      return 'renew';
    }
    if (message.t === 'ev') {
      this.counters.events++;
      for (const { op, key, val } of message.ops) {
        if ((val === undefined) === (op === 'put')) return this.#misfit();
        if (!this.#write(this.#view, key, val, message.rev)) return this.#misfit();
      }
    } else this.counters.beats++;
    this.#rev = message.rev;
    if (message.t === 'ev') for (const { key } of message.ops) this.#tell(key);
    return 'fine';
  }

  #grow({ store, rev, part, last, entries }: Extract<FeedMessage, { t: 'snap' }>): Verdict {
    if (part === 0) this.#growing = { view: new TenantView(), rev, store, parts: 0 };
    const growing = this.#growing;
    if (!growing || growing.parts !== part || growing.rev !== rev || growing.store !== store) {
      return this.#misfit();
    }
    // From a Roulette that lags behind: this one knows better already.
    if (store === this.#store && rev < this.#rev) return 'renew';
    growing.parts++;
    for (const { key, rev, val } of entries) {
      if (!this.#write(growing.view, key, val, rev)) return this.#misfit();
    }
    if (!last) return 'fine';
    this.#growing = undefined;
    this.#distrusts = false;
    this.#view = growing.view;
    this.#store = store;
    this.#rev = rev;
    this.counters.snapshots++;
    this.#options.onChange?.();
    return 'fine';
  }

  /** @returns false for what cannot be this tenant's */
  #write(view: TenantView, key: string, text: string | undefined, rev: number): boolean {
    const parsed = parseKey(key);
    if (!parsed || parsed.tenant !== this.#tenant) return false;
    if (text === undefined) {
      view.remove(parsed.kind, parsed.name);
      return true;
    }
    try {
      view.put(parsed.kind, parsed.name, rev, text);
      return true;
    } catch (error) {
      if (error instanceof SyntaxError) return false;
      throw error;
    }
  }

  #tell(key: string): void {
    const parsed = parseKey(key);
    if (parsed) this.#options.onChange?.(parsed.kind, parsed.name);
  }

  #misfit(): Verdict {
    this.counters.misfits++;
    this.#distrusts = true;
    return 'renew';
  }
}
