/** Programs that write JSON lines: `{"ready":true,...}` first, and their result last. */
import type { Host, HostProcess } from 'tunconnector/testing';
import type { Lab } from './lab.ts';

const START_LIMIT_MS = 10_000;
/** Some empty a socket buffer, or say goodbye, before they end. */
const STOP_GRACE_MS = 5_000;

export async function startJson(
  lab: Lab,
  host: Host,
  cpu: number | undefined,
  argv: readonly string[],
  limit = START_LIMIT_MS,
): Promise<HostProcess> {
  const process = lab.spawn(host, cpu, argv);
  await process.waitFor(/^\{"ready":true.*\}$/m, limit);
  return process;
}

/** Ends it and gives back its last line. @throws Error when it failed */
export async function stopJson(process: HostProcess): Promise<Record<string, number>> {
  const { code, signal } = await process.stop('SIGTERM', STOP_GRACE_MS);
  return lastLine(process, code ?? `ended by ${signal}`);
}

/** Waits for its end, `seconds` at most. */
export async function endOfJson(process: HostProcess, seconds: number): Promise<Record<string, number>> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), seconds * 1000);
  });
  const end = await Promise.race([process.ended, limit]);
  clearTimeout(timer);
  if (end) return lastLine(process, end.code ?? `ended by ${end.signal}`);
  await process.stop('SIGKILL');
  throw new Error(`it did not end within ${seconds} s`);
}

function lastLine(process: HostProcess, code: number | string): Record<string, number> {
  if (code !== 0) throw new Error(`exit code ${code}: ${process.stderr.trim()}`);
  return parseLastLine(process.stdout);
}

/** @throws Error when there is no result */
export function parseLastLine(text: string): Record<string, number> {
  const line = text.trim().split('\n').at(-1) ?? '';
  const value = line.startsWith('{') ? JSON.parse(line) : undefined;
  if (value === undefined || value.ready === true) throw new Error('it ended without a result');
  return value;
}
