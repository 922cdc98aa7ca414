/** `--log FILE`: what became of each packet, as lines of JSON (docs/impair/log.md). */
import { open } from 'node:fs/promises';
import type { Attachable } from '../../engine/attach.ts';
import { TunconnectorError } from '../../errors.ts';
import { recordVerdicts } from '../../impair/log/attached.ts';
import { usageError } from '../exit.ts';

/** ms between looks at what is collected, so that who follows the file need not wait for a full chunk. */
const EVERY = 250;

export interface VerdictLogFile {
  stop(): Promise<void>;
}

/**
 * Writes the verdict log of a network's impairments into a file, until `stop`, which must come before the network closes.
 * When it cannot be written any more `onFailure` gets ERR_CAPTURE once, and the network goes on.
 * @throws ERR_USAGE when the file cannot be made
 */
export async function logVerdicts(
  network: Attachable,
  path: string,
  onFailure: (error: TunconnectorError) => void,
): Promise<VerdictLogFile> {
  const file = await open(path, 'w').catch((error: NodeJS.ErrnoException) => {
    throw usageError(`--log: cannot write ${path} (${error.code})`);
  });
  let failure: unknown;
  const write = async (text: string) => {
    try {
      await file.appendFile(text);
    } catch (error) {
      failure = error;
      onFailure(writeError(path, error as NodeJS.ErrnoException));
      throw error;
    }
  };
  try {
    const recording = await recordVerdicts(network, write);
    const timer = setInterval(recording.flush, EVERY);
    return {
      async stop() {
        clearInterval(timer);
        try {
          await recording.stop();
        } catch (error) {
          // What was told is not told again.
          if (error !== failure) throw error;
        } finally {
          await file.close();
        }
      },
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

const writeError = (path: string, cause: NodeJS.ErrnoException) =>
  new TunconnectorError('ERR_CAPTURE', `--log: cannot write ${path} (${cause.code})`, {
    remedy: cause.code === 'ENOSPC' ? 'make room on the disk' : undefined,
    errno: cause.code,
    cause,
  });
