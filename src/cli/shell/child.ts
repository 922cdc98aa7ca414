/**
 * The command behind the link: a process with a network and a mount namespace of its own.
 *
 *   1. unshare(1) makes the namespaces and becomes a shell, which says `ready` and waits;
 *   2. whoever started it makes the link into the network namespace, and says `go`;
 *   3. the shell puts the name servers in place, says `started` and becomes the command.
 *
 * All over one socket, which ends with who started it: a shell that waits ends then, and a command gets SIGHUP, as when its
 * terminal is closed. Standard streams, terminal and process group are those of who started it, and so is Ctrl-C.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { TunconnectorError } from '../../errors.ts';
import { missingCommand } from '../../tun/system/live-command.ts';
import type { Account } from '../privileges.ts';

/**
 * $1 is the program, the rest starts it. Resolvers that are asked through sockets of the file system would answer past the
 * link. /tmp is covered for as long as it takes to put a file there that is nobody else's, and of which nothing stays.
 */
const SCRIPT = `
echo ready >&3
read -r tc_go tc_gateway tc_names <&3 || exit 125
export TUNCONNECTOR_GATEWAY="$tc_gateway"
for tc_socket in /run/nscd/socket /var/run/nscd/socket /run/systemd/resolve/io.systemd.Resolve; do
  [ ! -S "$tc_socket" ] || mount --bind /dev/null "$tc_socket" 2>/dev/null
done
if [ "$tc_names" = own ]; then
  tc_error=$( {
    mount -t tmpfs -o mode=755,size=64k tunconnector /tmp &&
    (umask 022; cat <&3 >/tmp/resolv.conf) &&
    mount --bind /tmp/resolv.conf /etc/resolv.conf &&
    umount -l /tmp
  } 2>&1 ) || { echo "$tc_error" >&3; exit 125; }
fi
case "$1" in
  */*) ;;
  *) command -v "$1" >/dev/null || { echo started >&3; echo "tunconnector: $1: no such program" >&2; exit 127; } ;;
esac
shift
echo started >&3
exec "$@" 3>&-
`;

export interface Order {
  /** Address of the link's other end. */
  gateway: string;
  /** Instead of the host's /etc/resolv.conf. */
  resolver: string | undefined;
}

export class ShellChild {
  readonly #child: ChildProcess;
  readonly #gate: Duplex;
  /** What it said so far. */
  #said = '';
  #look = () => {};
  /** As a shell has it: the exit code, or 128 and the number of the signal that ended it. */
  readonly status: Promise<number>;

  /**
   * @param env of the command
   * @param account who runs it; whoever started it without one
   * @param rootless in a user namespace as well, as its root
   */
  constructor(argv: readonly string[], env: NodeJS.ProcessEnv, account?: Account, rootless = false) {
    const ids = account
      ? [`--reuid=${account.uid}`, `--regid=${account.gid}`, `--groups=${account.groups.join(',')}`]
      : [];
    const start = ['setpriv', '--pdeathsig', 'HUP', ...ids, '--', ...argv];
    const user = rootless ? ['--user', '--map-root-user'] : [];
    const words = [
      ...user,
      '--net',
      '--mount',
      '--',
      'sh',
      '-c',
      SCRIPT,
      'tunconnector-shell',
      argv[0]!,
      ...start,
    ];
    const child = spawn('unshare', words, { stdio: ['inherit', 'inherit', 'inherit', 'pipe'], env });
    this.#child = child;
    this.#gate = child.stdio[3] as Duplex;
    this.#gate.on('error', () => {});
    this.#gate.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
      this.#look();
    });
    this.#gate.once('close', () => this.#look());
    this.status = new Promise((resolve, reject) => {
      child.once('error', (error) => reject(missingCommand('unshare', error)));
      child.once('exit', (code, signal) => resolve(statusOf(code, signal)));
    });
    // Awaited when all is set up.
    this.status.catch(() => {});
  }

  /** Of the process that waits in the namespaces. */
  get pid(): number {
    return this.#child.pid!;
  }

  /** The network namespace, once `ready`, as a path for setns(2). */
  get netns(): string {
    return `/proc/${this.#child.pid}/ns/net`;
  }

  /** The namespaces are there. False: something ended it before. @throws ERR_PERMISSION, ERR_COMMAND */
  async ready(): Promise<boolean> {
    if (await this.#says('ready\n')) return true;
    const status = await this.status;
    if (status > 128) return false;
    throw new TunconnectorError('ERR_PERMISSION', 'a network namespace for the command cannot be made', {
      remedy: 'run it as root; in a container it needs CAP_SYS_ADMIN and CAP_NET_ADMIN',
    });
  }

  /** Lets the command run. False: something ended it before. @throws ERR_COMMAND */
  async go({ gateway, resolver }: Order): Promise<boolean> {
    this.#gate.end(`go ${gateway} ${resolver === undefined ? 'same' : 'own'}\n${resolver ?? ''}`);
    if (await this.#says('started\n')) return true;
    const why = this.#said.replace('ready\n', '').trim();
    if (why === '') return false;
    throw new TunconnectorError('ERR_COMMAND', `/etc/resolv.conf cannot be put in place (${why})`);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends a shell that still waits, and is done when it is gone. */
  async abandon(): Promise<void> {
    this.#gate.destroy();
    await this.status.catch(() => {});
  }

  #says(line: string): Promise<boolean> {
    return new Promise((resolve) => {
      this.#look = () => {
        if (this.#said.endsWith(line)) resolve(true);
        else if (this.#gate.closed) resolve(false);
      };
      this.#look();
    });
  }
}

export const statusOf = (code: number | null, signal: NodeJS.Signals | null): number =>
  code ?? 128 + (signal ? constants.signals[signal] : 0);

/** Passes on what is meant for the command and did not reach it by its terminal. Returns how to stop that. */
export function forwardSignals(to: { kill(signal: NodeJS.Signals): unknown }): () => void {
  const pass = (signal: NodeJS.Signals) => void to.kill(signal);
  // Keys of the terminal reach its whole process group, so the command too.
  const leave = () => {};
  const told = ['SIGTERM', 'SIGHUP'] as const;
  const keys = ['SIGINT', 'SIGQUIT'] as const;
  for (const signal of told) process.on(signal, pass);
  for (const signal of keys) process.on(signal, leave);
  return () => {
    for (const signal of told) process.off(signal, pass);
    for (const signal of keys) process.off(signal, leave);
  };
}
