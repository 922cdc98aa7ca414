/**
 * A storage as a folder: one file each, appended in place, replaced by a temporary file that is synced and renamed. A file
 * is open only while something is done to it, so there is nothing to close and nothing to go stale after a rename.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { TunconnectorError } from '../errors.ts';
import { checkStorageName, type Storage, type StorageDone } from './outside.ts';
import { diskError, QueuedStorage, type StorageBackend } from './storage-queue.ts';

const { O_APPEND, O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
/** For their owner alone: what is stored may be secret. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

export class LiveDisk {
  readonly #root: string | undefined;
  readonly #storages = new Map<string, Storage>();

  constructor(root: string | undefined) {
    this.#root = root;
  }

  storage(name: string): Storage {
    checkStorageName(name, 'storage name');
    if (this.#root === undefined) {
      throw new TunconnectorError('ERR_CONFIG', `there is no folder for the storage "${name}"`, {
        remedy: 'give the runtime one: new LiveRuntime({ storage: FOLDER })',
      });
    }
    let storage = this.#storages.get(name);
    if (!storage) {
      storage = new QueuedStorage(name, new LiveBackend(name, path.resolve(this.#root, name)));
      this.#storages.set(name, storage);
    }
    return storage;
  }
}

interface Known {
  /** Length at the last good sync, or when the file was first seen. */
  synced: number;
  /** The folder was synced since the file got its name. */
  named: boolean;
  /** It could not be put back to `synced`: that comes before anything else is written. */
  dirty: boolean;
}

class LiveBackend implements StorageBackend {
  readonly #name: string;
  readonly #folder: string;
  readonly #known = new Map<string, Known>();
  #prepared: Promise<void> | undefined;

  constructor(name: string, folder: string) {
    this.#name = name;
    this.#folder = folder;
  }

  append(file: string, chunks: readonly Uint8Array[], sync: boolean, done: StorageDone): void {
    this.#run(sync ? 'sync' : 'append', file, () => this.#append(file, chunks, sync), done);
  }

  async #append(file: string, chunks: readonly Uint8Array[], sync: boolean): Promise<void> {
    const flags = O_WRONLY | O_APPEND | (chunks.length > 0 ? O_CREAT : 0);
    const handle = await this.#open(file, flags);
    if (!handle) return;
    try {
      const known = await this.#knownOf(file, handle);
      if (known.dirty) await putBack(handle, known);
      try {
        // One write: several would be as many trips to the thread pool.
        if (chunks.length > 0)
          await handle.writeFile(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks));
        if (!sync) return;
        await handle.datasync();
        if (!known.named) await syncFolder(this.#folder);
        known.named = true;
        known.synced = (await handle.stat()).size;
      } catch (error) {
        known.dirty = true;
        await putBack(handle, known).catch(() => {});
        throw error;
      }
    } finally {
      await handle.close();
    }
  }

  rollBack(file: string, done: () => void): void {
    const work = async () => {
      const handle = await this.#open(file, O_WRONLY);
      if (!handle) return;
      try {
        const known = await this.#knownOf(file, handle);
        known.dirty = true;
        await putBack(handle, known);
      } finally {
        await handle.close();
      }
    };
    // What cannot be put back now is `dirty`, and the next append fails for it.
    this.#run('truncate', file, work, () => done());
  }

  read(
    file: string,
    done: (error: TunconnectorError | undefined, bytes: Uint8Array | undefined) => void,
  ): void {
    const work = async (): Promise<Uint8Array | undefined> => {
      const handle = await this.#open(file, O_RDONLY);
      if (!handle) return undefined;
      try {
        const bytes = await handle.readFile();
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
      } finally {
        await handle.close();
      }
    };
    this.#run<Uint8Array | undefined>('read', file, work, done);
  }

  replace(file: string, bytes: Uint8Array, done: StorageDone): void {
    this.#run('replace', file, () => this.#replace(file, bytes), done);
  }

  async #replace(file: string, bytes: Uint8Array): Promise<void> {
    const temporary = path.join(this.#folder, temporaryName(file));
    try {
      const handle = await open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, FILE_MODE);
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path.join(this.#folder, file));
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw error;
    }
    const known = { synced: bytes.length, named: false, dirty: false };
    this.#known.set(file, known);
    await syncFolder(this.#folder);
    known.named = true;
  }

  truncate(file: string, length: number, done: StorageDone): void {
    const work = async () => {
      const handle = await this.#open(file, O_WRONLY);
      if (!handle) throw withErrno('ENOENT');
      try {
        const { size } = await handle.stat();
        if (!Number.isInteger(length) || length < 0 || length > size) throw withErrno('EINVAL');
        await handle.truncate(length);
        await handle.sync();
        this.#known.set(file, { synced: length, named: false, dirty: false });
      } finally {
        await handle.close();
      }
    };
    this.#run('truncate', file, work, done);
  }

  remove(file: string, done: StorageDone): void {
    const work = async () => {
      try {
        await unlink(path.join(this.#folder, file));
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
      this.#known.delete(file);
      await syncFolder(this.#folder);
    };
    this.#run('remove', file, work, done);
  }

  list(done: (error: TunconnectorError | undefined, files: string[]) => void): void {
    const work = async () => {
      const entries = await readdir(this.#folder, { withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
        .map((entry) => entry.name)
        .sort();
    };
    this.#run('list', '', work, (error, files) => done(error, files ?? []));
  }

  /** Undefined when there is no such file. A symbolic link in its place is ELOOP. */
  async #open(file: string, flags: number): Promise<FileHandle | undefined> {
    try {
      return await open(path.join(this.#folder, file), flags | O_NOFOLLOW, FILE_MODE);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #knownOf(file: string, handle: FileHandle): Promise<Known> {
    let known = this.#known.get(file);
    if (!known) {
      known = { synced: (await handle.stat()).size, named: false, dirty: false };
      this.#known.set(file, known);
    }
    return known;
  }

  #run<T>(
    operation: string,
    file: string,
    work: () => Promise<T>,
    done: (error: TunconnectorError | undefined, value: T | undefined) => void,
  ): void {
    this.#prepared ??= this.#prepare();
    this.#prepared.then(work).then(
      // Out of the promise: what a handler throws is its own, and no rejection.
      (value) => process.nextTick(done, undefined, value),
      (cause) => {
        const { syscall } = cause as NodeJS.ErrnoException;
        const error = diskError(this.#name, file, operation, errnoOf(cause), { cause, syscall });
        process.nextTick(done, error, undefined);
      },
    );
  }

  /** Makes the folder, durably, and clears what a crash has left half replaced. */
  async #prepare(): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: FOLDER_MODE });
      await syncFolder(this.#folder);
      // The folder that was given may be a link; those made in it may not.
      await syncFolder(path.dirname(this.#folder), 0);
      for (const name of await readdir(this.#folder)) {
        if (name.startsWith('.') && name.endsWith('.tmp')) await unlink(path.join(this.#folder, name));
      }
    } catch (error) {
      // What was in the way may be gone at the next try.
      this.#prepared = undefined;
      throw error;
    }
  }
}

/** No file of a storage starts with a dot. */
const temporaryName = (file: string) => `.${file}.tmp`;

async function putBack(handle: FileHandle, known: Known): Promise<void> {
  await handle.truncate(known.synced);
  known.dirty = false;
}

async function syncFolder(folder: string, flags = O_NOFOLLOW): Promise<void> {
  const handle = await open(folder, O_RDONLY | O_DIRECTORY | flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const errnoOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

const withErrno = (code: string): Error => Object.assign(new Error(code), { code });
