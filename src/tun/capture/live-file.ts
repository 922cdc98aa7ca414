/** Captures into files and streams. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { Network } from '../../engine/network.ts';
import { TunconnectorError } from '../../errors.ts';
import { type CaptureOptions, type CaptureOutput, captureLink, type LinkCapture } from './capture.ts';
import type { LinkSelector } from './select.ts';

/** Captures show what people do: for their owner alone. */
const MODE = 0o600;

export interface FileCaptureOptions extends CaptureOptions {
  /** Adds a section to what is there, in place of overwriting it. */
  append?: boolean;
}

/**
 * Captures links into a new file (an old one is overwritten). In virtual time it is written at once, else in the
 * background. When the file cannot be written any more, `onEnd` gets ERR_CAPTURE once, and the network goes on.
 *
 * @throws ERR_CAPTURE when the file cannot be made, ERR_CONFIG when no link is meant
 */
export async function captureToFile(
  network: Network,
  links: LinkSelector,
  file: string,
  { append = false, ...options }: FileCaptureOptions = {},
): Promise<LinkCapture> {
  const { live } = network.runtime;
  const output = append
    ? await appendCaptureFile(file, live)
    : live
      ? await openCaptureFile(file)
      : new ImmediateFile(file);
  try {
    return captureLink(network, links, output, options);
  } catch (error) {
    await output.end();
    throw error;
  }
}

/** A file that is written in the background. Throws ERR_CAPTURE. */
export async function openCaptureFile(file: string): Promise<CaptureOutput> {
  try {
    const handle = await open(file, 'w', MODE);
    return streamOutput(handle.createWriteStream(), { name: file, reuse: true });
  } catch (error) {
    throw writeError(file, error);
  }
}

/**
 * A file to which another section is added, for those who may begin anew: what is there stays. In virtual time it is written at
 * once. Throws ERR_CAPTURE.
 */
export async function appendCaptureFile(file: string, live: boolean): Promise<CaptureOutput> {
  if (!live) return new ImmediateFile(file, constants.O_APPEND);
  try {
    const handle = await open(file, 'a', MODE);
    return streamOutput(handle.createWriteStream(), { name: file, reuse: true });
  } catch (error) {
    throw writeError(file, error);
  }
}

export interface StreamOutputOptions {
  /** What it is called in errors. */
  name: string;
  /** The stream is done with a chunk when it calls back, as files and sockets are: its memory is used again. */
  reuse?: boolean;
  /** Leave the stream open at the end (standard output). */
  keepOpen?: boolean;
  /** The reader may leave whenever it likes: this is called instead of an error. */
  onLeave?: () => void;
}

/** Any stream as an output. What it buffers is what is pending. */
export function streamOutput(stream: Writable, options: StreamOutputOptions): CaptureOutput {
  let ended = false;
  let failed = false;
  const fail = (error: NodeJS.ErrnoException) => {
    if (failed) return;
    failed = true;
    if (options.onLeave && (error.code === 'EPIPE' || error.code === 'ECONNRESET')) options.onLeave();
    else output.onFailure?.(writeError(options.name, error));
  };
  const output: CaptureOutput = {
    onFailure: undefined,
    get pending() {
      return stream.writableLength;
    },
    write(chunk, release) {
      if (ended || !stream.writable) release();
      else if (options.reuse) stream.write(chunk, release);
      else stream.write(chunk);
    },
    async end() {
      if (ended) return;
      ended = true;
      if (!stream.writable) return;
      await new Promise<void>((resolve) => {
        const done = (error?: Error | null) => {
          if (error) fail(error);
          resolve();
        };
        stream.once('close', () => resolve());
        if (options.keepOpen) stream.write('', done);
        else stream.end(done);
      });
    },
  };
  stream.on('error', fail);
  return output;
}

/** Within the call, so that virtual time, which never waits, cannot run ahead of the disk. */
class ImmediateFile implements CaptureOutput {
  readonly pending = 0;
  onFailure: ((error: TunconnectorError) => void) | undefined;
  readonly #file: string;
  #fd = -1;

  constructor(file: string, how = constants.O_TRUNC) {
    this.#file = file;
    try {
      this.#fd = openSync(file, constants.O_WRONLY | constants.O_CREAT | how, MODE);
    } catch (error) {
      throw writeError(file, error);
    }
  }

  write(chunk: Uint8Array, release: () => void): void {
    if (this.#fd < 0) return;
    try {
      for (let at = 0; at < chunk.length; ) at += writeSync(this.#fd, chunk, at);
      release();
    } catch (error) {
      void this.end();
      this.onFailure?.(writeError(this.#file, error));
    }
  }

  async end(): Promise<void> {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

const REMEDIES: Record<string, string> = {
  ENOSPC: 'make room on the disk, or capture less (--snaplen, --count)',
  EACCES: 'choose a file that you may write',
  EROFS: 'choose a file on another file system',
  ENOENT: 'make its directory first',
  EISDIR: 'give the name of a file, not of a directory',
};

/** ERR_CAPTURE for what a file system said. */
export function writeError(file: string, error: unknown): TunconnectorError {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  return new TunconnectorError('ERR_CAPTURE', `${file} cannot be written (${code ?? message})`, {
    cause: error,
    errno: code,
    syscall,
    remedy: REMEDIES[code ?? ''],
  });
}
