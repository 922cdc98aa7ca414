/**
 * The order of things in a storage, for whatever keeps the bytes: a queue per file, appends that wait are written
 * together, syncs that wait share one, and what fails takes down all that was built on it.
 */
import { type ErrorDetails, TunconnectorError } from '../errors.ts';
import { checkStorageName, type Storage, type StorageDone } from './outside.ts';

/** Appends that may wait for the disk, in bytes. More of them fail as if the disk were full. */
const MAX_WAITING = 64 << 20;

export interface StorageBackend {
  /**
   * Appends the chunks, and syncs if asked to. When it fails, the file ends where the last good sync left it. Never calls
   * back from within the call; that holds for all of these.
   */
  append(file: string, chunks: readonly Uint8Array[], sync: boolean, done: StorageDone): void;
  /** Puts the file back to what the last good sync left, as far as it can. */
  rollBack(file: string, done: () => void): void;
  read(
    file: string,
    done: (error: TunconnectorError | undefined, bytes: Uint8Array | undefined) => void,
  ): void;
  replace(file: string, bytes: Uint8Array, done: StorageDone): void;
  truncate(file: string, length: number, done: StorageDone): void;
  remove(file: string, done: StorageDone): void;
  list(done: (error: TunconnectorError | undefined, files: string[]) => void): void;
}

export class QueuedStorage implements Storage {
  readonly name: string;
  readonly #backend: StorageBackend;
  readonly #files = new Map<string, FileQueue>();

  constructor(name: string, backend: StorageBackend) {
    this.name = name;
    this.#backend = backend;
  }

  append(file: string, bytes: Uint8Array): void {
    this.#queue(file).append(bytes.slice());
  }

  sync(file: string, done: StorageDone): void {
    this.#queue(file).sync(done);
  }

  read(
    file: string,
    done: (error: TunconnectorError | undefined, bytes: Uint8Array | undefined) => void,
  ): void {
    this.#queue(file).step((next) =>
      this.#backend.read(file, (error, bytes) => next(() => done(error, bytes))),
    );
  }

  replace(file: string, bytes: Uint8Array, done: StorageDone): void {
    const copy = bytes.slice();
    this.#queue(file).rewrite((next) => this.#backend.replace(file, copy, next), done);
  }

  truncate(file: string, length: number, done: StorageDone): void {
    this.#queue(file).rewrite((next) => this.#backend.truncate(file, length, next), done);
  }

  remove(file: string, done: StorageDone): void {
    this.#queue(file).rewrite((next) => this.#backend.remove(file, next), done);
  }

  list(done: (error: TunconnectorError | undefined, files: string[]) => void): void {
    // A step of every queue holds it until all have come so far: then the list is of one moment.
    const queues = [...this.#files.values()];
    const releases: ((after: () => void) => void)[] = [];
    const ask = () =>
      this.#backend.list((error, files) => {
        for (const release of releases) release(() => {});
        done(error, files);
      });
    if (queues.length === 0) ask();
    for (const queue of queues) {
      queue.step((next) => {
        releases.push(next);
        if (releases.length === queues.length) ask();
      });
    }
  }

  #queue(file: string): FileQueue {
    checkStorageName(file, 'file name');
    let queue = this.#files.get(file);
    if (!queue) {
      queue = new FileQueue(file, this.#backend, () => this.#files.delete(file));
      this.#files.set(file, queue);
    }
    return queue;
  }
}

type Job =
  | { kind: 'append'; bytes: Uint8Array }
  | { kind: 'sync'; done: StorageDone }
  /** Calls `next` once when it has ended; what that is given runs after the queue has gone on. */
  | { kind: 'step'; run: (next: (after: () => void) => void) => void };

class FileQueue {
  readonly #file: string;
  readonly #backend: StorageBackend;
  readonly #onIdle: () => void;
  #jobs: Job[] = [];
  #waiting = 0;
  #busy = false;
  /** Why what was appended since the last good sync is gone. Stays until a sync has told. */
  #failure: TunconnectorError | undefined;

  constructor(file: string, backend: StorageBackend, onIdle: () => void) {
    this.#file = file;
    this.#backend = backend;
    this.#onIdle = onIdle;
  }

  append(bytes: Uint8Array): void {
    if (this.#waiting + bytes.length > MAX_WAITING) {
      const error = new TunconnectorError(
        'ERR_STORAGE',
        `${this.#file}: ${this.#waiting + bytes.length} bytes wait to be written, the limit is ${MAX_WAITING}`,
        { remedy: 'sync before more is appended' },
      );
      this.step((next) => this.#backend.rollBack(this.#file, () => this.#overflow(error, next)));
      return;
    }
    this.#waiting += bytes.length;
    this.#jobs.push({ kind: 'append', bytes });
    this.#pump();
  }

  sync(done: StorageDone): void {
    this.#jobs.push({ kind: 'sync', done });
    this.#pump();
  }

  step(run: (next: (after: () => void) => void) => void): void {
    this.#jobs.push({ kind: 'step', run });
    this.#pump();
  }

  /** A step after which nothing that was appended before matters any more, if it works. */
  rewrite(run: (next: StorageDone) => void, done: StorageDone): void {
    this.step((next) =>
      run((error) => {
        if (!error) this.#failure = undefined;
        next(() => done(error));
      }),
    );
  }

  #pump(): void {
    if (this.#busy) return;
    const first = this.#jobs[0];
    if (!first) {
      // A queue that remembers a failure must be there for the sync that asks.
      if (!this.#failure) this.#onIdle();
      return;
    }
    this.#busy = true;
    if (first.kind !== 'step') {
      this.#write();
      return;
    }
    this.#jobs.shift();
    first.run((after) => this.#goOn(after));
  }

  #goOn(after: () => void): void {
    this.#busy = false;
    this.#pump();
    after();
  }

  /** All appends and syncs at the head of the queue, at once. */
  #write(): void {
    let end = this.#jobs.findIndex((job) => job.kind === 'step');
    if (end < 0) end = this.#jobs.length;
    const chunks: Uint8Array[] = [];
    const dones: StorageDone[] = [];
    for (const job of this.#jobs.splice(0, end)) {
      if (job.kind === 'append') chunks.push(job.bytes);
      else if (job.kind === 'sync') dones.push(job.done);
    }
    for (const chunk of chunks) this.#waiting -= chunk.length;
    const finish = (error: TunconnectorError | undefined) => {
      if (error) this.#fail(error, dones);
      this.#goOn(() => {
        for (const done of dones) done(error);
      });
    };
    // Told once is told: the sync that gets the error is where appending may start again.
    if (this.#failure) this.#backend.rollBack(this.#file, () => finish(this.#failure));
    else this.#backend.append(this.#file, chunks, dones.length > 0, finish);
  }

  /** What was appended meanwhile stands on what is gone; those who wait for it must hear it too. */
  #fail(error: TunconnectorError, dones: StorageDone[]): void {
    const kept: Job[] = [];
    for (const job of this.#jobs) {
      if (job.kind === 'append') this.#waiting -= job.bytes.length;
      else if (job.kind === 'sync') dones.push(job.done);
      else kept.push(job);
    }
    this.#jobs = kept;
    this.#failure = dones.length > 0 ? undefined : error;
  }

  #overflow(error: TunconnectorError, next: (after: () => void) => void): void {
    const dones: StorageDone[] = [];
    this.#fail(error, dones);
    next(() => {
      for (const done of dones) done(error);
    });
  }
}

const REMEDIES: Record<string, string> = {
  ENOSPC: 'free some space on it',
  EDQUOT: 'raise the quota, or free some space',
  EACCES: 'give this user the right to write there',
  EPERM: 'give this user the right to write there',
  EROFS: 'choose a folder that can be written to',
};

/** ERR_STORAGE for what a disk said, real or not. */
export function diskError(
  storage: string,
  file: string,
  operation: string,
  errno: string,
  details: Pick<ErrorDetails, 'cause' | 'syscall'> = {},
): TunconnectorError {
  const subject = file ? `the file "${file}" of the storage "${storage}"` : `the storage "${storage}"`;
  return new TunconnectorError('ERR_STORAGE', `${subject}: ${operation} failed (${errno})`, {
    errno,
    remedy: REMEDIES[errno],
    ...details,
  });
}
