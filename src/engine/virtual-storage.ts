/**
 * A disk in memory, for virtual time. It is as unkind as the rules allow: a crash takes what was not synced, wholly, from any
 * byte on, or with zeros in its place, and an operation under way has happened or has not.
 */
import type { TunconnectorError } from '../errors.ts';
import { checkStorageName, type Storage, type StorageDone } from './outside.ts';
import type { RandomStream } from './random.ts';
import type { Runtime } from './runtime.ts';
import { diskError, QueuedStorage, type StorageBackend } from './storage-queue.ts';
import { duration } from './units.ts';

export interface VirtualDiskOptions {
  /** How long a read or an append takes; default 0. */
  writeTime?: string | number;
  /** How long a sync takes; `replace` takes two, `truncate` and `remove` one. Default 1 ms. */
  syncTime?: string | number;
  /** Each operation takes up to so much longer, drawn uniformly; default 0. */
  jitter?: string | number;
  /** Bytes that fit on the disk; default without limit. `replace` needs room for the old and the new. */
  capacity?: number;
}

export interface VirtualDiskFailure {
  operation: DiskOperation;
  /** Only in this storage; any when left out. */
  storage?: string;
  /** Only on this file; any when left out. */
  file?: string;
  /** Default `EIO`. */
  errno?: string;
}

export type DiskOperation = 'append' | 'sync' | 'read' | 'replace' | 'truncate' | 'remove' | 'list';

/** What the disk needs of its runtime. */
export type VirtualClock = Pick<Runtime, 'now' | 'timer' | 'random'>;

export class VirtualDisk {
  readonly #clock: VirtualClock;
  readonly #random: RandomStream;
  readonly #folders = new Map<string, Folder>();
  readonly #handles = new Map<string, { storage: Storage; backend: VirtualBackend }>();
  readonly #failures: VirtualDiskFailure[] = [];
  #writeTime = 0;
  #syncTime = 0;
  #jitter = 0;
  #capacity = Number.POSITIVE_INFINITY;

  constructor(clock: VirtualClock, options: VirtualDiskOptions = {}) {
    this.#clock = clock;
    this.#random = clock.random('disk');
    this.configure({ syncTime: '1ms', ...options });
  }

  /** Changes what is given, from now on. @throws ERR_CONFIG */
  configure({ writeTime, syncTime, jitter, capacity }: VirtualDiskOptions): void {
    if (writeTime !== undefined) this.#writeTime = duration(writeTime);
    if (syncTime !== undefined) this.#syncTime = duration(syncTime);
    if (jitter !== undefined) this.#jitter = duration(jitter);
    if (capacity !== undefined) this.#capacity = capacity;
  }

  storage(name: string): Storage {
    checkStorageName(name, 'storage name');
    let handle = this.#handles.get(name);
    if (!handle) {
      let folder = this.#folders.get(name);
      if (!folder) this.#folders.set(name, (folder = new Map()));
      const backend = new VirtualBackend(this, name, folder);
      handle = { backend, storage: new QueuedStorage(name, backend) };
      this.#handles.set(name, handle);
    }
    return handle.storage;
  }

  /**
   * Power is lost, for one storage or for all. What is left is what `storage(name)` finds from now on; storages that were
   * handed out before belong to the dead program, and neither do anything nor call back any more.
   */
  crash(name?: string): void {
    for (const [each, { backend }] of [...this.#handles]) {
      if (name !== undefined && each !== name) continue;
      backend.dead = true;
      this.#handles.delete(each);
      const folder = this.#folders.get(each)!;
      for (const [file, state] of [...folder].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (!survive(state, this.#random)) folder.delete(file);
      }
    }
  }

  /** The next operation that fits fails. Several calls wait in line. */
  failNext(failure: VirtualDiskFailure): void {
    this.#failures.push(failure);
  }

  /** Bytes on the disk. */
  get used(): number {
    let used = 0;
    for (const folder of this.#folders.values()) for (const file of folder.values()) used += file.length;
    return used;
  }

  /** For the storages of this disk. */
  error(operation: DiskOperation, storage: string, file: string, more = 0): TunconnectorError | undefined {
    const place = this.#failures.findIndex(
      (each) =>
        each.operation === operation && (each.storage ?? storage) === storage && (each.file ?? file) === file,
    );
    if (place >= 0)
      return diskError(storage, file, operation, this.#failures.splice(place, 1)[0].errno ?? 'EIO');
    const full = more > 0 && this.used + more > this.#capacity;
    return full ? diskError(storage, file, operation, 'ENOSPC') : undefined;
  }

  /** For the storages of this disk. */
  after(syncs: number, callback: () => void): void {
    const base = syncs === 0 ? this.#writeTime : syncs * this.#syncTime;
    const extra = this.#jitter === 0 ? 0 : Math.floor(this.#random.unit() * (this.#jitter + 1));
    this.#clock.timer(this.#clock.now() + base + extra, callback);
  }
}

type Folder = Map<string, FileState>;

interface FileState {
  /** The first `length` bytes are the file as programs see it. */
  bytes: Uint8Array;
  length: number;
  /** Bytes that a crash leaves; -1 when not even the name is in the folder for sure. */
  synced: number;
  /** An operation that is under way, and at a crash may have happened. */
  underWay: (() => void) | undefined;
  removed: boolean;
}

const newFile = (): FileState => ({
  bytes: new Uint8Array(0),
  length: 0,
  synced: -1,
  underWay: undefined,
  removed: false,
});

/** What the crash leaves of a file; false when it is gone. */
function survive(state: FileState, random: RandomStream): boolean {
  if (state.underWay && random.below(2) === 1) state.underWay();
  state.underWay = undefined;
  if (state.removed) return false;
  const from = Math.max(0, state.synced);
  const tail = state.length - from;
  const fate = random.below(3);
  if (fate === 0) {
    if (state.synced < 0) return false;
    state.length = from;
  } else {
    const torn = from + random.below(tail + 1);
    // The length reached the disk before the blocks did: file systems with delayed allocation do that.
    const end = fate === 1 ? torn : torn + random.below(state.length - torn + 1);
    state.bytes.fill(0, torn, end);
    state.length = end;
  }
  state.synced = state.length;
  return true;
}

class VirtualBackend implements StorageBackend {
  dead = false;
  readonly #disk: VirtualDisk;
  readonly #name: string;
  readonly #folder: Folder;

  constructor(disk: VirtualDisk, name: string, folder: Folder) {
    this.#disk = disk;
    this.#name = name;
    this.#folder = folder;
  }

  append(file: string, chunks: readonly Uint8Array[], sync: boolean, done: StorageDone): void {
    const more = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const error =
      (chunks.length > 0 ? this.#error('append', file, more) : undefined) ??
      (sync ? this.#error('sync', file) : undefined);
    const state = this.#folder.get(file) ?? (chunks.length > 0 ? this.#make(file) : undefined);
    if (state && error?.errno !== 'ENOSPC') for (const chunk of chunks) grow(state, chunk);
    this.#after(sync ? 1 : 0, () => {
      if (state && error) state.length = Math.max(0, state.synced);
      else if (state && sync) state.synced = state.length;
      done(error);
    });
  }

  rollBack(file: string, done: () => void): void {
    const state = this.#folder.get(file);
    if (state) state.length = Math.max(0, state.synced);
    this.#after(0, done);
  }

  read(
    file: string,
    done: (error: TunconnectorError | undefined, bytes: Uint8Array | undefined) => void,
  ): void {
    const error = this.#error('read', file);
    this.#after(0, () => {
      const state = this.#folder.get(file);
      done(error, error || !state ? undefined : state.bytes.slice(0, state.length));
    });
  }

  replace(file: string, bytes: Uint8Array, done: StorageDone): void {
    const error = this.#error('replace', file, bytes.length);
    const state = this.#folder.get(file);
    // The new file has no name before the rename, so it is in nobody's way.
    const fresh: FileState = state ?? newFile();
    this.#change(file, fresh, 2, error, done, () => {
      fresh.bytes = bytes;
      fresh.length = fresh.synced = bytes.length;
    });
  }

  truncate(file: string, length: number, done: StorageDone): void {
    const state = this.#folder.get(file);
    const error =
      this.#error('truncate', file) ??
      (state && Number.isInteger(length) && length >= 0 && length <= state.length
        ? undefined
        : diskError(this.#name, file, 'truncate', state ? 'EINVAL' : 'ENOENT'));
    this.#change(file, state ?? newFile(), 1, error, done, () => {
      if (state) state.length = state.synced = length;
    });
  }

  remove(file: string, done: StorageDone): void {
    const state = this.#folder.get(file);
    const error = this.#error('remove', file);
    if (state) {
      this.#change(file, state, 1, error, done, () => {
        state.removed = true;
      });
    } else this.#after(1, () => done(error));
  }

  list(done: (error: TunconnectorError | undefined, files: string[]) => void): void {
    const error = this.#error('list', '');
    this.#after(0, () => {
      const names = [...this.#folder].filter(([, state]) => !state.removed);
      done(error, error ? [] : names.map(([name]) => name).sort());
    });
  }

  #error(operation: DiskOperation, file: string, more = 0): TunconnectorError | undefined {
    return this.#disk.error(operation, this.#name, file, more);
  }

  #make(file: string): FileState {
    const state = newFile();
    this.#folder.set(file, state);
    return state;
  }

  /** Something that a crash leaves done or undone, and nothing in between. */
  #change(
    file: string,
    state: FileState,
    syncs: number,
    error: TunconnectorError | undefined,
    done: StorageDone,
    apply: () => void,
  ): void {
    if (!error) {
      // A file that only this makes is under its name when it is done, or after a crash that had it done.
      if (!this.#folder.has(file)) state.removed = true;
      state.underWay = () => {
        state.removed = false;
        apply();
      };
      this.#folder.set(file, state);
    }
    this.#after(syncs, () => {
      if (!error) {
        state.underWay?.();
        state.underWay = undefined;
        if (state.removed) this.#folder.delete(file);
      }
      done(error);
    });
  }

  #after(syncs: number, callback: () => void): void {
    if (this.dead) return;
    this.#disk.after(syncs, () => {
      if (!this.dead) callback();
    });
  }
}

function grow(state: FileState, chunk: Uint8Array): void {
  const length = state.length + chunk.length;
  if (length > state.bytes.length) {
    const larger = new Uint8Array(Math.max(length, 2 * state.bytes.length));
    larger.set(state.bytes.subarray(0, state.length));
    state.bytes = larger;
  }
  state.bytes.set(chunk, state.length);
  state.length = length;
}
