/** `--log FILE`: what became of each packet, as lines of JSON (docs/impair/log.md). */
import { open } from 'node:fs/promises';
import type { Attachable } from '../../engine/attach.ts';
import { recordVerdicts } from '../../impair/log/attached.ts';
import { usageError } from '../exit.ts';

/** ms between looks at what is collected, so that who follows the file need not wait for a full chunk. */
const EVERY = 250;

export interface VerdictLogFile {
  stop(): Promise<void>;
}

/**
 * Writes the verdict log of a network's impairments into a file, until `stop`, which must come before the network closes.
 * @throws ERR_USAGE when the file cannot be made; `stop` throws what writing it threw
 */
export async function logVerdicts(network: Attachable, path: string): Promise<VerdictLogFile> {
  const file = await open(path, 'w').catch((error: NodeJS.ErrnoException) => {
    throw usageError(`--log: cannot write ${path} (${error.code})`);
  });
  try {
    const recording = await recordVerdicts(network, (text) => file.appendFile(text));
    const timer = setInterval(recording.flush, EVERY);
    return {
      async stop() {
        clearInterval(timer);
        try {
          await recording.stop();
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
