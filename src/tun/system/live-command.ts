/**
 * Runs the system's own programs (`ip`, `nft`, `tc`) without a shell: arguments as a list, commands over
 * stdin, a limit on the time, and errors that say what to install.
 */

import { spawn } from 'node:child_process';
import { TunconnectorError } from '../../errors.ts';

export interface CommandOptions {
  /** Text for its standard input. */
  input?: string;
  /** Milliseconds after which it is killed and ERR_COMMAND is thrown. Default 10 000. */
  timeout?: number;
  signal?: AbortSignal;
  /** Path of a network namespace to run it in: `/run/netns/x`, `/proc/PID/ns/net`. */
  netns?: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
}

export interface CommandResult {
  /** Exit code, or null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** The Debian package that brings a program. */
const PACKAGES: Record<string, string> = {
  ip: 'iproute2',
  tc: 'iproute2',
  nft: 'nftables',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  ping: 'iputils-ping',
};

/** People without root often have no `sbin` in their PATH, which is where Debian keeps `ip` and `nft`. */
export function systemEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...env, PATH: `${env.PATH ?? '/usr/local/bin:/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin` };
}

export function missingCommand(program: string, cause?: unknown): TunconnectorError {
  const name = program.slice(program.lastIndexOf('/') + 1);
  return new TunconnectorError('ERR_COMMAND', `${name}: no such program`, {
    remedy: PACKAGES[name] ? `install it: apt-get install ${PACKAGES[name]}` : `install ${name}`,
    errno: 'ENOENT',
    cause,
  });
}

/**
 * A failure to start a program, as nsenter, unshare and setpriv report it when they exec. A directory of the
 * PATH that may not be searched turns "no such file" into "permission denied".
 */
const EXEC_FAILED =
  /^(?:nsenter|unshare|setpriv): failed to execute (\S+: No such file|[^\s/]+: Permission denied)/m;

/**
 * Runs one program to its end and gives back its exit code and output, whatever they are. Throws ERR_COMMAND
 * when the program is missing or exceeds its time, ERR_ABORTED when `signal` fires; by then it has ended.
 */
export async function runCommand(
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { input, timeout = 10_000, signal, netns } = options;
  if (signal?.aborted) throw new TunconnectorError('ERR_ABORTED', `${argv[0]}: aborted before it started`);
  const [program, ...args] = netns ? ['nsenter', `--net=${netns}`, '--', ...argv] : argv;
  // Its own process group, so that a limit ends what it started as well, and Ctrl-C reaches only us.
  const child = spawn(program!, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: systemEnvironment(options.env),
    cwd: options.cwd,
    detached: true,
  });
  let stdout = '';
  let stderr = '';
  let ended: 'timeout' | 'aborted' | undefined;
  const end = (why: 'timeout' | 'aborted') => {
    ended ??= why;
    killGroup(child.pid, 'SIGKILL');
  };
  const abort = () => end('aborted');
  const timer = setTimeout(() => end('timeout'), timeout);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const status = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
      (resolve, reject) => {
        child.once('error', reject);
        child.once('close', (code, by) => resolve({ code, signal: by }));
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          stdout += text;
        });
        child.stderr.setEncoding('utf8').on('data', (text: string) => {
          stderr += text;
        });
        // A program that ends without reading its input (EPIPE) says why in its exit code.
        child.stdin.on('error', () => {});
        child.stdin.end(input ?? '');
      },
    );
    if (ended === 'timeout') {
      throw new TunconnectorError('ERR_COMMAND', `${argv.join(' ')}: did not end within ${timeout} ms`, {
        errno: 'ETIMEDOUT',
      });
    }
    if (ended === 'aborted') throw new TunconnectorError('ERR_ABORTED', `${argv[0]}: aborted`);
    const missing = status.code === 127 || status.code === 126 ? EXEC_FAILED.exec(stderr) : null;
    if (missing) throw missingCommand(missing[1]!.split(':')[0]!);
    return { ...status, stdout, stderr };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || (code === 'EACCES' && !program!.includes('/'))) {
      throw missingCommand(program!, error);
    }
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** Sends a signal to a process group; a group that is gone already is what was wanted. */
export function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
