/** Programs that need no hosts: they compute. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { onCpu } from './placement.ts';

/** What it wrote. @throws Error with the end of what it said on standard error */
export async function execute(
  argv: readonly string[],
  { cpu, seconds, signal }: { cpu: number | undefined; seconds: number; signal: AbortSignal },
): Promise<string> {
  const [program, ...words] = onCpu(cpu, argv);
  try {
    const options = { timeout: seconds * 1000, signal, killSignal: 'SIGKILL' as const };
    return (await promisify(execFile)(program!, words, options)).stdout;
  } catch (error) {
    const { stderr, killed, message } = error as Error & { stderr?: string; killed?: boolean };
    if (killed) throw new Error(`${argv[0]} did not end within ${seconds} s`);
    throw new Error(stderr?.trim().split('\n').at(-1) || message.split('\n')[0]);
  }
}
