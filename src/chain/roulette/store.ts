/**
 * What Roulette asks of the store behind it. The meaning is etcd's, so that its JSON gateway fits behind the same interface:
 *
 * - one revision for the whole store, which each transaction that changes something raises by one;
 * - every key knows the revision that wrote it last, and a transaction compares those before it writes;
 * - a watch starts at any revision that is not compacted yet, and brings whole transactions, each once and in order;
 * - a key may hang on a lease, and is deleted when that ends. What ends a lease is the store's own clock, never a date.
 *
 * No call answers from within itself. An error (ERR_STORAGE, ERR_BUSY, ERR_CLOSED) says that the outcome of a transaction is not
 * known: of the embedded store it did not happen, of a remote one it may have. Keys and values are text.
 */
import { TunconnectorError } from '../../errors.ts';

export interface RegistryStore {
  /** Names this store's history: a revision of another store means nothing here. */
  readonly id: string;
  /** Everything, as of one revision. */
  load(done: (error: TunconnectorError | undefined, state?: StoreState) => void): void;
  /**
   * Writes all of `ops` in one revision if every key compared has the revision said, and nothing otherwise.
   * At most `MAX_OPS` of each, and no key twice in `ops`.
   */
  txn(
    compare: readonly Compare[],
    ops: readonly Op[],
    done: (error: TunconnectorError | undefined, result?: TxnResult) => void,
  ): void;
  /** Everything from revision `from` on, that one included. */
  watch(from: number, handlers: StoreWatchHandlers): StoreWatch;
  /** A lease of at least `term` ns. */
  grant(term: number, done: (error: TunconnectorError | undefined, lease?: Lease) => void): void;
  /** A fresh term. False: there is no such lease any more. */
  keepAlive(lease: string, done: (error: TunconnectorError | undefined, alive?: boolean) => void): void;
  /** Ends a lease and deletes what hangs on it. One that is gone is no error. */
  revoke(lease: string, done: (error?: TunconnectorError) => void): void;
  close(): void;
}

/** etcd's default for `--max-txn-ops`. */
export const MAX_OPS = 128;

/** What no store takes. */
export function checkSize(compare: readonly Compare[], ops: readonly Op[]): TunconnectorError | undefined {
  const twice = new Set(ops.map(({ key }) => key)).size < ops.length;
  if (compare.length <= MAX_OPS && ops.length <= MAX_OPS && !twice) return undefined;
  const found = twice
    ? 'the same key twice'
    : `${compare.length} comparisons and ${ops.length} changes, the most is ${MAX_OPS} each`;
  return new TunconnectorError('ERR_LIMIT', `a transaction has ${found}`, { remedy: 'make it several' });
}

export interface StoreState {
  rev: number;
  entries: Entry[];
}

export interface Entry {
  key: string;
  value: string;
  /** The revision that wrote it last; 1 or higher. */
  rev: number;
  lease?: string;
}

/** `rev` 0: there is no such key. */
export interface Compare {
  key: string;
  rev: number;
}

/** Without a value: deletes the key. */
export interface Op {
  key: string;
  value?: string;
  /** Of a put: the lease that the key hangs on from now on; none when left out. */
  lease?: string;
}

export interface TxnResult {
  /** False: a comparison failed, and nothing was written. */
  ok: boolean;
  /** The store's revision after it. */
  rev: number;
}

export interface Lease {
  lease: string;
  /** ns; may be longer than what was asked for. */
  term: number;
}

/** What one transaction did, or the end of one lease. */
export interface Change {
  rev: number;
  ops: readonly Op[];
}

export interface StoreWatchHandlers {
  onChange(change: Change): void;
  /** Once, as the last call: what was asked for is compacted away (load anew), or, with an error, the store is out of reach. */
  onLost(error?: TunconnectorError): void;
}

export interface StoreWatch {
  close(): void;
}
