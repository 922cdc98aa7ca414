/**
 * etcd as Roulette's store, through its JSON gateway. Keys begin with a prefix, so that others may use the same etcd; a key
 * beside them names this history, and another one is written when it has to be known how far the watch has come.
 */
import type { Runtime } from '../../../engine/runtime.ts';
import { SECOND } from '../../../engine/units.ts';
import type { TunconnectorError } from '../../../errors.ts';
import {
  type Compare,
  checkSize,
  type Entry,
  type Lease,
  type Op,
  type RegistryStore,
  type StoreState,
  type StoreWatch,
  type StoreWatchHandlers,
  type TxnResult,
} from '../store.ts';
import { EtcdWatch } from './live-etcd-watch.ts';
import { EtcdGateway, type EtcdOptions } from './live-gateway.ts';
import { encode, endOf, entryOf, keyValues, revisionOf, txnOf } from './messages.ts';

export interface EtcdStoreOptions extends EtcdOptions {
  /** Of all keys: letters, digits, `-`, `/`; default `tunconnector`. */
  prefix?: string;
}

type StoreRuntime = Pick<Runtime, 'now' | 'timer' | 'secret'>;

/** Keys in one answer. */
const PAGE = 2000;
/** ns between looks at how far etcd is. */
const LOOK = 2 * SECOND;

/** Finds the history's name, or gives it one. */
export function openEtcdStore(
  runtime: StoreRuntime,
  options: EtcdStoreOptions,
  done: (error: TunconnectorError | undefined, store?: EtcdStore) => void,
): void {
  const gateway = new EtcdGateway(runtime, options);
  const prefix = `${options.prefix ?? 'tunconnector'}/`;
  const key = encode(`${prefix}store`);
  const fresh = Buffer.from(runtime.secret(8)).toString('hex');
  const body = {
    compare: [{ key, target: 'CREATE', result: 'EQUAL', create_revision: '0' }],
    success: [{ request_put: { key, value: encode(fresh) } }],
    failure: [{ request_range: { key } }],
  };
  // Done twice it finds what it has written.
  gateway.call('/kv/txn', body, true, (error, answer) => {
    if (error) {
      gateway.close();
      done(error);
      return;
    }
    const [response] = (answer!.responses as Record<string, Record<string, unknown>>[] | undefined) ?? [];
    const [known] = keyValues(response?.response_range ?? {});
    done(undefined, new EtcdStore(runtime, gateway, prefix, known?.value ?? fresh));
  });
}

export class EtcdStore implements RegistryStore {
  readonly id: string;
  readonly #runtime: StoreRuntime;
  readonly #gateway: EtcdGateway;
  /** Of everything of ours, and of what Roulette keeps. */
  readonly #prefix: string;
  readonly #keys: string;
  readonly #watches = new Set<EtcdWatch>();
  /** The highest revision that etcd has said. */
  #known = 0;
  #closed = false;
  #cancelLook = () => {};
  readonly counters = { marks: 0, reopened: 0 };

  /** For `openEtcdStore`. */
  constructor(runtime: StoreRuntime, gateway: EtcdGateway, prefix: string, id: string) {
    this.#runtime = runtime;
    this.#gateway = gateway;
    this.#prefix = prefix;
    this.#keys = `${prefix}registry/`;
    this.id = id;
    this.#lookLater();
  }

  load(done: (error: TunconnectorError | undefined, state?: StoreState) => void): void {
    const entries: Entry[] = [];
    const page = (from: string, rev: number) => {
      const body = {
        key: encode(from),
        range_end: encode(endOf(this.#keys)),
        limit: String(PAGE),
        ...(rev > 0 && { revision: String(rev) }),
      };
      this.#gateway.call('/kv/range', body, true, (error, answer) => {
        if (error) return done(error);
        const found = keyValues(answer!);
        for (const each of found) entries.push(entryOf(each, this.#keys));
        const at = rev || this.#note(revisionOf(answer!));
        if (answer!.more !== true) done(undefined, { rev: at, entries });
        else page(`${found.at(-1)!.key}\0`, at);
      });
    };
    page(this.#keys, 0);
  }

  txn(
    compare: readonly Compare[],
    ops: readonly Op[],
    done: (error: TunconnectorError | undefined, result?: TxnResult) => void,
  ): void {
    const refusal = checkSize(compare, ops);
    if (refusal) {
      this.#runtime.timer(this.#runtime.now(), () => done(refusal));
      return;
    }
    this.#gateway.call('/kv/txn', txnOf(this.#keys, compare, ops), false, (error, answer) => {
      if (error) done(error);
      else done(undefined, { ok: answer!.succeeded === true, rev: this.#note(revisionOf(answer!)) });
    });
  }

  watch(from: number, handlers: StoreWatchHandlers): StoreWatch {
    const watch: EtcdWatch = new EtcdWatch(this.#runtime, this.#gateway, {
      from,
      prefix: this.#prefix,
      keys: this.#keys,
      handlers,
      known: () => this.#known,
      mark: () => this.#mark(),
      onReopen: () => this.counters.reopened++,
      onEnd: () => this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    return watch;
  }

  grant(term: number, done: (error: TunconnectorError | undefined, lease?: Lease) => void): void {
    const body = { TTL: String(Math.ceil(term / SECOND)) };
    // Done twice, the first one ends by itself.
    this.#gateway.call('/lease/grant', body, true, (error, answer) => {
      if (error) done(error);
      else done(undefined, { lease: String(answer!.ID), term: Number(answer!.TTL) * SECOND });
    });
  }

  keepAlive(lease: string, done: (error: TunconnectorError | undefined, alive?: boolean) => void): void {
    this.#gateway.call('/lease/keepalive', { ID: lease }, true, (error, answer) => {
      if (error) return done(error);
      const { TTL = '0' } = (answer!.result ?? {}) as { TTL?: string };
      done(undefined, Number(TTL) > 0);
    });
  }

  revoke(lease: string, done: (error?: TunconnectorError) => void): void {
    this.#gateway.call('/lease/revoke', { ID: lease }, true, (error) =>
      done(error?.code === 'ERR_NOT_FOUND' ? undefined : error),
    );
  }

  close(): void {
    this.#closed = true;
    this.#cancelLook();
    for (const watch of [...this.#watches]) watch.close();
    this.#gateway.close();
  }

  #note(rev: number): number {
    this.#known = Math.max(this.#known, rev);
    for (const watch of this.#watches) watch.check();
    return rev;
  }

  /** Writes a revision that every watch sees. */
  #mark(): void {
    this.counters.marks++;
    const body = { key: encode(`${this.#prefix}mark`), value: '' };
    this.#gateway.call('/kv/put', body, true, (_error, answer) => {
      if (answer) this.#note(revisionOf(answer));
    });
  }

  /** A watch that has died in silence is found by what etcd says of itself. */
  #lookLater(): void {
    this.#cancelLook = this.#runtime.timer(this.#runtime.now() + LOOK, () => {
      const body = { key: encode(`${this.#prefix}store`), keys_only: true };
      this.#gateway.call('/kv/range', body, true, (_error, answer) => {
        if (answer) this.#note(revisionOf(answer));
        if (!this.#closed) this.#lookLater();
      });
    });
  }
}
