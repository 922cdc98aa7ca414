/** The other side of a control socket: looks into networks that run in other processes. */

import type { Socket } from 'node:net';
import path from 'node:path';
import type { NetworkReport } from '../../engine/report.ts';
import { type ErrorCode, TunconnectorError } from '../../errors.ts';
import { directories, filesIn, SUFFIX, socketPath, tryConnect } from './live-path.ts';
import type { CaptureRequest, ControlLink } from './live-server.ts';

export interface ControlClient extends AsyncDisposable {
  readonly name: string;
  report(): Promise<NetworkReport>;
  links(): Promise<ControlLink[]>;
  /**
   * Turns the connection into a capture: an iterable of pcapng bytes. `end()` ends it, complete; the iterable ends
   * then, or when the network does.
   */
  capture(
    request?: CaptureRequest,
  ): Promise<{ links: string[]; bytes: AsyncIterable<Uint8Array>; end(): void }>;
  close(): Promise<void>;
}

/** Connects to the network of this name. Throws ERR_SOCKET, naming those that run, when there is none. */
export async function connectControl(name: string): Promise<ControlClient> {
  const socket = await findNetwork(name);
  if (!socket) {
    const running = (await listNetworks()).map((each) => each.name);
    throw new TunconnectorError('ERR_SOCKET', `no network "${name}" is running`, {
      remedy: running.length > 0 ? `choose one of ${running.join(', ')}` : 'start it first, as the same user',
    });
  }
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let rest: Buffer = Buffer.alloc(0);
  const request = async (what: object): Promise<Record<string, unknown>> => {
    socket.write(`${JSON.stringify(what)}\n`);
    for (let end = rest.indexOf('\n'); ; end = rest.indexOf('\n')) {
      if (end >= 0) {
        const answer = JSON.parse(rest.toString('utf8', 0, end)) as Record<string, unknown>;
        rest = rest.subarray(end + 1);
        if (answer.ok === true) return answer;
        throw new TunconnectorError(answer.code as ErrorCode, String(answer.message));
      }
      const next = await chunks.next();
      if (next.done) throw new TunconnectorError('ERR_CLOSED', `the network "${name}" has ended`);
      rest = Buffer.concat([rest, next.value]);
    }
  };
  const close = async () => {
    if (socket.closed) return;
    socket.destroy();
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  };
  return {
    name,
    report: async () => (await request({ do: 'report' })).report as NetworkReport,
    links: async () => (await request({ do: 'links' })).links as ControlLink[],
    async capture(options = {}) {
      const { links } = await request({ do: 'capture', ...options });
      async function* bytes(): AsyncGenerator<Uint8Array> {
        if (rest.length > 0) yield rest;
        for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
      }
      return { links: links as string[], bytes: bytes(), end: () => void socket.end() };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

export interface RunningNetwork {
  name: string;
  /** Of its control socket. */
  path: string;
}

/** The networks of this user that answer, by name. */
export async function listNetworks(): Promise<RunningNetwork[]> {
  const found = new Map<string, string>();
  for (const directory of directories()) {
    for (const file of filesIn(directory)) {
      const name = file.slice(0, -SUFFIX.length);
      if (!file.endsWith(SUFFIX) || found.has(name)) continue;
      const socket = await tryConnect(path.join(directory, file)).catch(() => undefined);
      if (!socket) continue;
      socket.destroy();
      found.set(name, path.join(directory, file));
    }
  }
  return [...found].map(([name, file]) => ({ name, path: file })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function findNetwork(name: string): Promise<Socket | undefined> {
  for (const directory of directories()) {
    const socket = await tryConnect(socketPath(directory, name));
    if (socket) return socket;
  }
  return undefined;
}
