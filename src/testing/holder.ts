/** Holders: processes that keep a namespace alive, and clean it up when whoever started them is gone. */

import { type ChildProcess, spawn } from 'node:child_process';
import { TunconnectorError } from '../errors.ts';
import { killGroup, missingCommand, systemEnvironment } from '../tun/system/live-command.ts';

/** A holder needs a few milliseconds to start; this is the limit on a machine that is busy. */
const START_LIMIT_MS = 10_000;
/** Longer than the holder's own limit of 150 rounds of 10 ms. */
const CLOSE_LIMIT_MS = 5_000;

/**
 * The holder of a network namespace. $1 is the namespace of who started it, never to be swept; $2 the mark.
 * Janitors get half a second for what they have to undo outside the namespace.
 * Duplicate address detection would keep an IPv6 address unusable for a second or more.
 */
export const HOLD_NETWORK = `
net=/proc/$$/ns/net
[ "$(readlink $net)" != "$1" ] || exit 1
for f in all default; do
  echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad
  echo 0 >/proc/sys/net/ipv6/conf/$f/disable_ipv6
  echo 0 >/proc/sys/net/ipv6/conf/$f/router_solicitations
done 2>/dev/null
ip link set lo up || exit 1
echo ready
while read -r line; do :; done
round=0
while [ $round -lt 150 ]; do
  left=
  for p in /proc/[0-9]*; do
    [ $p/ns/net -ef $net ] && [ $p != /proc/$$ ] && left="$left \${p#/proc/}"
  done
  for p in $(grep -lsaF "$2" /proc/[0-9]*/environ); do
    p=\${p#/proc/}
    left="$left \${p%/environ}"
  done
  [ -n "$left" ] || exit 0
  for p in $left; do
    [ $round -lt 50 ] && grep -qsa live-janitor-child /proc/$p/cmdline || kill -9 $p 2>/dev/null
  done
  round=$((round + 1))
  sleep 0.01
done
`;

/** The holder of a user namespace has nothing to sweep: the holders of its network namespaces do. */
export const HOLD_USER = 'echo ready\nwhile read -r line; do :; done';

/** A process that lives until its standard input ends, and keeps its namespaces alive meanwhile. */
export interface Holder {
  pid: number;
  close(): Promise<void>;
}

export async function startHolder(
  name: string,
  unshare: readonly string[],
  script: string,
  args: readonly string[],
): Promise<Holder> {
  const [program, ...rest] = [...unshare, 'sh', '-c', script, `hold-${name}`, ...args];
  // Its own session: Ctrl-C on a terminal must not end it before what it has to clean up after.
  const child = spawn(program!, rest, { stdio: 'pipe', env: systemEnvironment(), detached: true });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await holderReady(name, program!, child);
  // A world that nobody closed must not keep its process from ending, which closes it.
  setReferenced(child, false);
  const close = async () => {
    setReferenced(child, true);
    child.stdin!.end();
    const timer = setTimeout(() => killGroup(child.pid, 'SIGKILL'), CLOSE_LIMIT_MS);
    await closed;
    clearTimeout(timer);
  };
  let closing: Promise<void> | undefined;
  return { pid: child.pid!, close: () => (closing ??= close()) };
}

function holderReady(name: string, program: string, child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let stderr = '';
    const timer = setTimeout(() => {
      killGroup(child.pid, 'SIGKILL');
      reject(new TunconnectorError('ERR_COMMAND', `host ${name} did not start within ${START_LIMIT_MS} ms`));
    }, START_LIMIT_MS);
    child.stdin!.on('error', () => {});
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdout!.once('data', () => {
      clearTimeout(timer);
      child.removeAllListeners('exit').removeAllListeners('error');
      resolve();
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(missingCommand(program, error));
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      const missing = /(?:failed to execute |sh: \d+: )(\w+): (?:No such file|not found)/.exec(stderr);
      if (missing) reject(missingCommand(missing[1]!));
      else {
        reject(
          new TunconnectorError(
            'ERR_PERMISSION',
            `cannot make a network namespace: ${stderr.trim() || `code ${code}`}`,
            { remedy: 'run as root, or allow user namespaces (sysctl user.max_user_namespaces)' },
          ),
        );
      }
    });
  });
}

function setReferenced(child: ChildProcess, on: boolean): void {
  const method = on ? 'ref' : 'unref';
  child[method]();
  for (const stream of [child.stdin, child.stdout, child.stderr]) {
    (stream as unknown as { ref(): void; unref(): void })[method]();
  }
}
