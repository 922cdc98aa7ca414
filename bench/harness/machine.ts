/** What the figures were taken on. */
import { execFile } from 'node:child_process';
import os from 'node:os';
import { promisify } from 'node:util';
import { ROOT } from './root.ts';

export interface Machine {
  cpu: string;
  cores: number;
  memoryBytes: number;
  kernel: string;
  node: string;
  date: string;
  /** Of the sources; with `+` when something is not committed, '' outside a clone. */
  commit: string;
  /** Processes that wanted to run when the run began, over the last minute. */
  load: number;
  /** First line of what each program says of its version. */
  programs: Record<string, string>;
}

const PROGRAMS: Record<string, string[]> = {
  gcc: ['--version'],
  iperf3: ['--version'],
  openvpn: ['--version'],
  socat: ['-V'],
  'wireguard-go': ['--version'],
};

export async function machineFacts(): Promise<Machine> {
  const cpus = os.cpus();
  const programs: Record<string, string> = {};
  for (const [name, words] of Object.entries(PROGRAMS)) {
    const text = await output(name, words);
    const line = text.split('\n').find((each) => /\d+\.\d+/.test(each));
    if (line) programs[name] = line.trim();
  }
  const head = (await output('git', ['rev-parse', '--short', 'HEAD'])).trim();
  const changed = (await output('git', ['status', '--porcelain', '--untracked-files=no'])).trim() !== '';
  return {
    cpu: cpus[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    kernel: os.release(),
    node: process.version,
    date: new Date().toISOString(),
    commit: `${head}${head && changed ? '+' : ''}`,
    load: os.loadavg()[0] ?? 0,
    programs,
  };
}

/** What a program writes; nothing where it is missing or hangs. */
async function output(command: string, words: string[]): Promise<string> {
  const run = promisify(execFile);
  const result = await run(command, words, { cwd: ROOT, timeout: 5000 }).catch(
    (error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }),
  );
  return result.stdout;
}
