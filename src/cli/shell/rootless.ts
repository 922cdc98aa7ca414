/**
 * Without root: the command is started again in a user and a network namespace, in which it may do everything. The network
 * there has no way out; it is the link's other end, with what the user starts in it.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { checkNamespaces } from '../rootless.ts';
import { forwardSignals, statusOf } from './child.ts';

/** Set in the process that was started again, and not in what it starts. */
const VARIABLE = 'TUNCONNECTOR_SHELL_ROOTLESS';

/** CAP_NET_ADMIN (12) and CAP_SYS_ADMIN (21), in whatever user namespace this process is. */
export function hasPrivileges(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  const wanted = (1n << 12n) | (1n << 21n);
  return effective !== null && (BigInt(`0x${effective[1]}`) & wanted) === wanted;
}

export const isStartedAgain = (): boolean => process.env[VARIABLE] !== undefined;

/** The environment for the command. */
export function withoutMark(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { [VARIABLE]: _, ...rest } = env;
  return rest;
}

/** Returns the status of the command. @param asked what in the error message asked for it @throws ERR_PERMISSION */
export async function startAgain(asked: string): Promise<number> {
  await checkNamespaces(asked);
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const words = ['--user', '--map-root-user', '--net', '--', 'setpriv', '--pdeathsig', 'HUP', '--', ...again];
  // Before there is a child: a signal between the two would end this process alone.
  const forget = forwardSignals({ kill: (signal) => child.kill(signal) });
  const child = spawn('unshare', words, { stdio: 'inherit', env: { ...process.env, [VARIABLE]: '1' } });
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(statusOf(code, signal)));
    });
  } finally {
    forget();
  }
}
