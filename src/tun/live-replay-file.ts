/** A capture file, chunk by chunk: read ahead in the background when time is real, at once when it is not. */
import { closeSync, fstatSync, openSync, read, readSync } from 'node:fs';
import { TunconnectorError } from '../errors.ts';

const CHUNK = 256 << 10;

export interface ReplaySource {
  /** The next bytes, which stay as they are; null at the end; undefined when they are on their way. */
  next(): Uint8Array | null | undefined;
  /** From the start again. */
  rewind(): void;
  close(): void | Promise<void>;
}

export interface ReplayFileOptions {
  /** Read within `next` (virtual time, which nothing in the background may hold up) instead of ahead of it. */
  immediate: boolean;
  /** The bytes that `next` did not have are there. */
  onReady: () => void;
}

/** Throws ERR_CAPTURE. */
export function openReplayFile(file: string, options: ReplayFileOptions): ReplaySource {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    throw fileError(file, error);
  }
  if (!fstatSync(fd).isFile()) {
    closeSync(fd);
    throw new TunconnectorError('ERR_CAPTURE', `${file} is not a regular file`, {
      remedy: 'save the capture to a file first',
    });
  }
  return options.immediate ? new ImmediateFile(file, fd) : new AheadFile(file, fd, options.onReady);
}

class ImmediateFile implements ReplaySource {
  readonly #file: string;
  readonly #fd: number;
  #position = 0;

  constructor(file: string, fd: number) {
    this.#file = file;
    this.#fd = fd;
  }

  next(): Uint8Array | null {
    const chunk = new Uint8Array(CHUNK);
    try {
      const length = readSync(this.#fd, chunk, 0, CHUNK, this.#position);
      this.#position += length;
      return length === 0 ? null : chunk.subarray(0, length);
    } catch (error) {
      throw fileError(this.#file, error);
    }
  }

  rewind(): void {
    this.#position = 0;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Keeps one chunk in advance. */
class AheadFile implements ReplaySource {
  readonly #file: string;
  readonly #fd: number;
  readonly #onReady: () => void;
  #position = 0;
  #chunk: Uint8Array | null | undefined;
  #error: unknown;
  #reading = false;
  #missed = false;
  /** What was being read when the file was rewound is not wanted any more. */
  #stale = false;
  #closed: (() => void) | undefined;

  constructor(file: string, fd: number, onReady: () => void) {
    this.#file = file;
    this.#fd = fd;
    this.#onReady = onReady;
    this.#read();
  }

  next(): Uint8Array | null | undefined {
    if (this.#error !== undefined) throw fileError(this.#file, this.#error);
    const chunk = this.#chunk;
    if (chunk === undefined) this.#missed = true;
    else if (chunk !== null) this.#read();
    return chunk;
  }

  rewind(): void {
    this.#position = 0;
    this.#stale = this.#reading;
    if (!this.#reading) this.#read();
  }

  #read(): void {
    this.#chunk = undefined;
    this.#reading = true;
    const chunk = new Uint8Array(CHUNK);
    read(this.#fd, chunk, 0, CHUNK, this.#position, (error, length) => {
      this.#reading = false;
      if (this.#closed) {
        this.#closed();
        return;
      }
      if (this.#stale) {
        this.#stale = false;
        this.#read();
        return;
      }
      if (error) this.#error = error;
      else {
        this.#position += length;
        this.#chunk = length === 0 ? null : chunk.subarray(0, length);
      }
      if (this.#missed) {
        this.#missed = false;
        this.#onReady();
      }
    });
  }

  async close(): Promise<void> {
    if (this.#reading) await new Promise<void>((resolve) => (this.#closed = resolve));
    closeSync(this.#fd);
  }
}

function fileError(file: string, error: unknown): TunconnectorError {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code ?? message})`;
  return new TunconnectorError('ERR_CAPTURE', `${file} ${why}`, {
    cause: error,
    errno: code,
    syscall,
    remedy: code === 'ENOENT' ? 'give the path of a pcap or pcapng file' : undefined,
  });
}
