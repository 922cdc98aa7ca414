/** Every event of a run as a line, for `--check-determinism`, which starts two processes of it. */
import { writeSync } from 'node:fs';
import { Exit } from '../exit.ts';
import { type Given, started } from './run.ts';

/** What gathers before it is written: characters. */
const CHUNK = 1 << 16;

/** @returns the exit code */
export async function traceSimulation(given: Given): Promise<number> {
  let text = '';
  const flush = () => {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += write(bytes, at);
    text = '';
  };
  let line = (where: string, what: string): void => void (text += `0 0 ${where || '-'} ${what}\n`);
  const { sim, time } = await started(given, (where, what) => line(where, what));
  line = (where, what) => {
    text += `${sim.events} ${sim.runtime.now()} ${where || '-'} ${what}\n`;
    if (text.length > CHUNK) flush();
  };
  await sim.runTo(time);
  line('', `end, ${sim.fingerprint}`);
  flush();
  await sim[Symbol.asyncDispose]();
  return Exit.ok;
}

/** A pipe of Node may be one that never blocks: then it is tried again. */
function write(bytes: Uint8Array, at: number): number {
  try {
    return writeSync(1, bytes, at);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    return 0;
  }
}
