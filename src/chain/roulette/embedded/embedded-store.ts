/**
 * The store inside Roulette: a table in memory, and a log on the runtime's storage.
 *
 * 1. What is asked for waits in line (`txn`, `grant`, `revoke`, leases that end).
 * 2. All that waits is applied to the table in order, becomes one frame of the log, and is synced once (group commit).
 * 3. Synced: watches hear of it, then who asked is answered. Failed: the table is put back, and who asked gets the error.
 * 4. Between two batches the table is what is durable. That is when it is loaded, watched from, and written as a snapshot.
 *
 * So nobody ever sees what a crash could take back.
 */
import type { Storage } from '../../../engine/outside.ts';
import type { Runtime } from '../../../engine/runtime.ts';
import { TunconnectorError } from '../../../errors.ts';
import { History } from '../history.ts';
import type {
  Change,
  Compare,
  Lease,
  Op,
  RegistryStore,
  StoreState,
  StoreWatch,
  StoreWatchHandlers,
  TxnResult,
} from '../store.ts';
import { checkSize } from '../store.ts';
import { encodeFrame } from './frame.ts';
import { logName, type Recovered, recover, removeLogs, SNAPSHOT } from './recovery.ts';
import { encodeSnapshot } from './snapshot.ts';
import type { LogRecord, Table } from './table.ts';
import { LEASE_TICK, Terms } from './terms.ts';

export interface EmbeddedStoreOptions {
  /** Name of the runtime's storage; default `roulette`. */
  storage?: string;
  /** Bytes of log after which it is replaced by a snapshot; default 8 MiB. */
  compactAfter?: number;
  /** Changes that a watch can go back; default 4096. */
  history?: number;
  /** Requests that may wait for the disk; further ones get ERR_BUSY. Default 4096. */
  waiting?: number;
}

export type StoreRuntime = Pick<Runtime, 'now' | 'timer' | 'secret' | 'storage'>;

/** Requests in one frame: bounds what one sync carries. */
const BATCH = 512;

/** Something that waits for the next batch. */
interface Job {
  /** Looks at the table as it is when its turn comes. @returns what is to be changed, or nothing */
  run(): LogRecord | undefined;
  /** The change is durable, or, with an error, has not happened. */
  done(error?: TunconnectorError): void;
}

/** Opens the store, or makes one. `done` comes with an error when what is on the disk cannot be read (ERR_STORAGE). */
export function openEmbeddedStore(
  runtime: StoreRuntime,
  options: EmbeddedStoreOptions,
  done: (error: TunconnectorError | undefined, store?: EmbeddedStore) => void,
): void {
  const storage = runtime.storage(options.storage ?? 'roulette');
  const fresh = Buffer.from(runtime.secret(8)).toString('hex');
  recover(storage, fresh, (error, recovered) =>
    done(error, recovered && new EmbeddedStore(runtime, storage, recovered, options)),
  );
}

export class EmbeddedStore implements RegistryStore {
  readonly id: string;
  readonly #runtime: StoreRuntime;
  readonly #storage: Storage;
  readonly #options: Required<EmbeddedStoreOptions>;
  readonly #table: Table;
  readonly #terms: Terms;
  readonly #history: History<Change>;
  readonly #watches = new Set<Watch>();
  #jobs: Job[] = [];
  /** What wants to see the table as it is on the disk. */
  #lookers: (() => void)[] = [];
  readonly #ending = new Set<string>();
  #busy = false;
  #closed = false;
  #cancelTick = () => {};
  #log: string;
  #logLength: number;
  #sequence: number;
  /** Logs that the next snapshot makes superfluous; undefined while none is being written. */
  #compacting: string[] | undefined;
  #logs: string[] = [];
  #compactAt: number;
  readonly counters = { syncs: 0, records: 0, failures: 0, compactions: 0 };

  /** For `openEmbeddedStore`. */
  constructor(runtime: StoreRuntime, storage: Storage, recovered: Recovered, options: EmbeddedStoreOptions) {
    this.id = recovered.store;
    this.#runtime = runtime;
    this.#storage = storage;
    this.#options = {
      storage: storage.name,
      compactAfter: options.compactAfter ?? 8 << 20,
      history: options.history ?? 4096,
      waiting: options.waiting ?? 4096,
    };
    this.#table = recovered.table;
    this.#sequence = recovered.sequence;
    this.#log = recovered.log;
    this.#logLength = recovered.length;
    this.#compactAt = this.#options.compactAfter;
    this.#history = new History(this.#options.history, recovered.table.rev);
    const now = runtime.now();
    this.#terms = new Terms(now);
    for (const [lease, { term }] of this.#table.leases) this.#terms.renew(lease, term, now);
    this.#tickLater();
  }

  /** Stalls of this program after which every lease got a fresh term. */
  get stalls(): number {
    return this.#terms.stalls;
  }

  load(done: (error: TunconnectorError | undefined, state?: StoreState) => void): void {
    this.#look((error) => {
      if (error) done(error);
      else done(undefined, { rev: this.#table.rev, entries: [...this.#table.entries.values()] });
    });
  }

  txn(
    compare: readonly Compare[],
    ops: readonly Op[],
    done: (error: TunconnectorError | undefined, result?: TxnResult) => void,
  ): void {
    let result: TxnResult | undefined;
    let refusal = checkSize(compare, ops);
    this.#submit({
      run: () => {
        if (refusal) return undefined;
        const { entries, leases, rev } = this.#table;
        const ok = compare.every((each) => (entries.get(each.key)?.rev ?? 0) === each.rev);
        const effective = ops.filter(({ key, value }) => value !== undefined || entries.has(key));
        const orphan = ops.find(({ lease }) => lease !== undefined && !leases.has(lease));
        if (ok && orphan) refusal = noLease(orphan.lease!);
        const writes = ok && !orphan && effective.length > 0;
        result = { ok, rev: writes ? rev + 1 : rev };
        return writes ? { rev: rev + 1, ops: effective } : undefined;
      },
      done: (error = refusal) => (error ? done(error) : done(undefined, result)),
    });
  }

  watch(from: number, handlers: StoreWatchHandlers): StoreWatch {
    const watch: Watch = { handlers, position: from - 1 };
    this.#watches.add(watch);
    this.#look((error) => {
      if (!this.#watches.has(watch)) return;
      if (!error && from > this.#history.floor) return this.#deliver(watch);
      this.#watches.delete(watch);
      handlers.onLost(error);
    });
    return { close: () => this.#watches.delete(watch) };
  }

  grant(term: number, done: (error: TunconnectorError | undefined, lease?: Lease) => void): void {
    let lease = '';
    this.#submit({
      run: () => {
        lease = String(this.#table.nextLease);
        return { grant: { lease, term } };
      },
      done: (error) => {
        if (error) return done(error);
        this.#terms.renew(lease, term, this.#runtime.now());
        done(undefined, { lease, term });
      },
    });
  }

  keepAlive(lease: string, done: (error: TunconnectorError | undefined, alive?: boolean) => void): void {
    // At once, and not when its turn comes: a slow disk is not the client's silence.
    const state = this.#table.leases.get(lease);
    if (state) this.#terms.renew(lease, state.term, this.#runtime.now());
    this.#look((error) => (error ? done(error) : done(undefined, this.#table.leases.has(lease))));
  }

  revoke(lease: string, done: (error?: TunconnectorError) => void): void {
    this.#end(lease, () => true, done);
  }

  /** What waits gets ERR_CLOSED, and may have happened if it is on its way to the disk. */
  close(): void {
    this.#closed = true;
    this.#cancelTick();
    this.#watches.clear();
    const jobs = this.#jobs.splice(0);
    if (jobs.length > 0) {
      this.#soon(() => {
        for (const job of jobs) job.done(closed());
      });
    }
  }

  // ── Leases

  #tickLater(): void {
    this.#cancelTick = this.#runtime.timer(this.#runtime.now() + LEASE_TICK, () => {
      for (const lease of this.#terms.tick(this.#runtime.now())) {
        if (this.#ending.has(lease)) continue;
        this.#ending.add(lease);
        // One whose end cannot be written, since the disk is full, is tried again.
        const isOver = () => this.#terms.isOver(lease, this.#runtime.now());
        this.#end(lease, isOver, () => this.#ending.delete(lease));
      }
      this.#tickLater();
    });
  }

  #end(lease: string, wanted: () => boolean, done: (error?: TunconnectorError) => void): void {
    let ended = false;
    this.#submit({
      run: () => {
        const state = this.#table.leases.get(lease);
        if (!state || !wanted()) return undefined;
        ended = true;
        const ops = [...state.keys].map((key) => ({ key }));
        return ops.length > 0 ? { rev: this.#table.rev + 1, ops, end: lease } : { end: lease };
      },
      done: (error) => {
        if (ended && !error) this.#terms.forget(lease);
        done(error);
      },
    });
  }

  // ── Batches

  #submit(job: Job) {
    if (this.#closed) return this.#soon(() => job.done(closed()));
    if (this.#jobs.length >= this.#options.waiting) {
      const message = `${this.#jobs.length} requests wait for the disk already`;
      const error = new TunconnectorError('ERR_BUSY', message, { remedy: 'ask again later' });
      return this.#soon(() => job.done(error));
    }
    this.#jobs.push(job);
    this.#next();
  }

  #look(see: (error?: TunconnectorError) => void) {
    if (this.#closed) return this.#soon(() => see(closed()));
    this.#lookers.push(see);
    this.#next();
  }

  #soon(callback: () => void): void {
    this.#runtime.timer(this.#runtime.now(), callback);
  }

  /** Starts what waits, unless a batch is on its way. */
  #next(): void {
    if (this.#busy) return;
    this.#busy = true;
    // Later, so that all that is asked at one instant is one batch, and no answer comes from within a call.
    this.#soon(() => {
      for (const see of this.#lookers.splice(0)) see();
      this.#flush();
    });
  }

  #flush() {
    const jobs = this.#jobs.splice(0, BATCH);
    const records: LogRecord[] = [];
    const undo: (() => void)[] = [];
    for (const job of jobs) {
      const record = job.run();
      if (!record) continue;
      records.push(record);
      undo.push(this.#table.apply(record));
    }
    if (records.length === 0) return this.#settle(jobs, records);
    const frame = encodeFrame({ sequence: this.#sequence + 1, records });
    this.#storage.append(this.#log, frame);
    this.#storage.sync(this.#log, (error) => {
      this.counters.syncs++;
      if (error) {
        this.counters.failures++;
        while (undo.length > 0) undo.pop()!();
      } else {
        this.#sequence++;
        this.#logLength += frame.length;
        this.counters.records += records.length;
      }
      this.#settle(jobs, error ? [] : records, error);
    });
  }

  #settle(jobs: readonly Job[], records: readonly LogRecord[], error?: TunconnectorError): void {
    for (const { rev, ops } of records) if (rev !== undefined) this.#history.push({ rev, ops: ops ?? [] });
    for (const watch of this.#watches) this.#deliver(watch);
    for (const job of jobs) job.done(error);
    this.#compact();
    this.#busy = false;
    if (this.#jobs.length > 0 || this.#lookers.length > 0) this.#next();
  }

  /** Brings a watch up to date. */
  #deliver(watch: Watch): void {
    while (this.#watches.has(watch)) {
      const change = this.#history.after(watch.position);
      if (!change) return;
      watch.position = change.rev;
      watch.handlers.onChange(change);
    }
  }

  // ── Compaction

  /** Frames from now on go to a new log; the old ones go when the snapshot is durable, and stay if it cannot be written. */
  #compact(): void {
    if (this.#logLength < this.#compactAt || this.#compacting || this.#closed) return;
    const bytes = encodeSnapshot({ store: this.id, sequence: this.#sequence, table: this.#table });
    const old = [...this.#logs, this.#log];
    this.#compacting = old;
    this.#log = logName(this.#sequence + 1);
    this.#logLength = 0;
    this.#storage.replace(SNAPSHOT, bytes, (error) => {
      if (error) {
        this.counters.failures++;
        this.#logs = old;
        this.#compacting = undefined;
        return;
      }
      this.counters.compactions++;
      this.#logs = [];
      // Not more often than the log grows by what a snapshot holds, or a large store would do nothing else.
      this.#compactAt = Math.max(this.#options.compactAfter, bytes.length);
      removeLogs(this.#storage, old, () => {
        this.#compacting = undefined;
      });
    });
  }
}

interface Watch {
  readonly handlers: StoreWatchHandlers;
  /** The last revision that it was told of, or did not ask for. */
  position: number;
}

const noLease = (lease: string) =>
  new TunconnectorError('ERR_NOT_FOUND', `there is no lease ${lease}: it has ended`, {
    remedy: 'ask for a new one',
  });

const closed = () => new TunconnectorError('ERR_CLOSED', 'the store is closed');
