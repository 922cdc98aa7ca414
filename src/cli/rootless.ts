/**
 * `--rootless`: the interface lives in a user and network namespace of its own, where an ordinary user may make one.
 * Two processes, because a process with threads cannot change its user namespace:
 *
 *   the parent stays in the caller's network: it opens the UDP sockets, resolves names, knows the MTU there
 *   the child is the command again, started by unshare(1): it has the interface, and the sockets by inheritance,
 *   which stay in the network they were made in; it asks the parent over a channel
 *
 * The child ends with the channel, so also when the parent is killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { TunconnectorError } from '../errors.ts';
import { native } from '../native/load.ts';
import { parseEndpoint } from '../packet/prefix.ts';
import { runCommand, systemEnvironment } from '../tun/system/live-command.ts';
import { systemError } from '../tun/system-error.ts';
import { trusted } from '../tun/udp-self-test.ts';
import { type InheritedSocket, inheritedUdp } from '../tunnel/connector/live-inherited-udp.ts';
import { liveOutside, type Outside } from '../tunnel/connector/live-outside.ts';
import { checkTunnelOptions, type TunnelOptions } from '../tunnel/connector/options.ts';

/** Tells the child which descriptors it inherited. */
const VARIABLE = 'TUNCONNECTOR_OUTSIDE';
/** Standard streams, then the channel. */
const FIRST_SOCKET = 4;
const SOCKET_BUFFER = 8 << 20;

type Sockets = Partial<Record<'server' | 'client', InheritedSocket>>;
type Question = { id: number; ask: 'resolve' | 'mtu'; argument?: string };
type Answer = { id: number; result?: unknown; error?: { code: string; message: string } };

// ── the parent

/** Starts the command again inside and returns its exit code. @throws ERR_PERMISSION where namespaces are forbidden */
export async function runRootless(options: TunnelOptions): Promise<number> {
  await checkNamespaces('--rootless');
  const sockets = openSockets(options);
  const child = startInside(sockets);
  for (const { handle } of sockets) native().close(handle.fd);
  child.on(
    'message',
    (question: Question) => void answer(question).then((reply) => child.connected && child.send(reply)),
  );
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of signals) process.on(signal, forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
    });
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}

/** @param asked what wants one @throws ERR_PERMISSION where this user may not make one */
export async function checkNamespaces(asked: string): Promise<void> {
  const { code, stderr } = await runCommand(['unshare', '--user', '--map-root-user', '--net', 'true']);
  if (code === 0) return;
  const why =
    stderr
      .trim()
      .split('\n')[0]
      ?.replace(/^unshare: /, '') ?? '';
  throw new TunconnectorError(
    'ERR_PERMISSION',
    `${asked}: this system does not allow user namespaces (${why})`,
    {
      remedy:
        'look at the sysctls kernel.unprivileged_userns_clone, user.max_user_namespaces and ' +
        'kernel.apparmor_restrict_unprivileged_userns, or run it as root',
    },
  );
}

interface OpenSocket {
  side: 'server' | 'client';
  family: 4 | 6;
  handle: ReturnType<ReturnType<typeof native>['udpOpen']>;
}

function openSockets(options: TunnelOptions): OpenSocket[] {
  const { server, client, ...wanted } = checkTunnelOptions(options);
  const { gso, gro } = trusted(wanted);
  const any = liveOutside.anyAddress();
  const open = (side: OpenSocket['side'], host: string, port: number): OpenSocket => {
    const { address } = parseEndpoint(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
    const bytes = new Uint8Array(16);
    bytes.set(address.bytes);
    const { family } = address;
    const dualStack = host === '::';
    const common = { scope: 0, reuse: false, buffer: SOCKET_BUFFER, device: '', netns: '', gso, gro };
    try {
      return {
        side,
        family,
        handle: native().udpOpen({ family, address: bytes, port, dualStack, ...common }),
      };
    } catch (error) {
      throw systemError(error, `the UDP port ${port}`);
    }
  };
  const sockets: OpenSocket[] = [];
  if (server) sockets.push(open('server', server.listen ?? any, server.port));
  if (client) sockets.push(open('client', any, 0));
  return sockets;
}

function startInside(sockets: readonly OpenSocket[]): ChildProcess {
  const inherited: Sockets = {};
  for (const [i, { side, family, handle }] of sockets.entries()) {
    const { port, gso, gro } = handle;
    inherited[side] = { fd: FIRST_SOCKET + i, family, port, gso, gro };
  }
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  // A session of its own: Ctrl-C reaches the parent, which passes it on once.
  return spawn('unshare', ['--user', '--map-root-user', '--net', '--', ...again], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...sockets.map(({ handle }) => handle.fd)],
    env: systemEnvironment({ ...process.env, [VARIABLE]: JSON.stringify(inherited) }),
    detached: true,
  });
}

async function answer({ id, ask, argument }: Question): Promise<Answer> {
  try {
    const result = ask === 'resolve' ? await liveOutside.resolve(argument!) : await liveOutside.mtu(argument);
    return { id, result };
  } catch (error) {
    const { code = 'ERR_COMMAND', message } = error as TunconnectorError;
    return { id, error: { code, message } };
  }
}

// ── the child

/** The outer side as the parent gives it; undefined in a process that nobody started so. */
export function insideNamespace(): Outside | undefined {
  const text = process.env[VARIABLE];
  if (text === undefined || !process.send) return undefined;
  const sockets = JSON.parse(text) as Sockets;
  let next = 1;
  const ask = <T>(question: Question['ask'], argument?: string) =>
    new Promise<T>((resolve, reject) => {
      const id = next++;
      const listen = (reply: Answer) => {
        if (reply.id !== id) return;
        process.off('message', listen);
        if (!reply.error) resolve(reply.result as T);
        else
          reject(new TunconnectorError(reply.error.code as TunconnectorError['code'], reply.error.message));
      };
      process.on('message', listen);
      process.send!({ id, ask: question, argument } satisfies Question);
    });
  return {
    shared: false,
    resolve: (host) => ask<string[]>('resolve', host),
    mtu: (address) => ask<number>('mtu', address),
    anyAddress: liveOutside.anyAddress,
    // The same options for the whole life, and so the same app: the descriptor is there once.
    socket: ({ bind = '', coalesce }) =>
      inheritedUdp({ ...sockets[bind.endsWith(':0') ? 'client' : 'server']!, coalesce }),
  };
}
