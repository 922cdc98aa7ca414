/**
 * The control socket of a running network: how `tunconnector capture` and `top` look into another process.
 *
 * A Unix socket `tunconnector/<name>.sock` in `$XDG_RUNTIME_DIR`, or else in `/run`, for its owner alone. Requests and
 * answers are one line of JSON each:
 *
 *     {"do":"report"}                            -> {"ok":true,"report":{...}}
 *     {"do":"links"}                             -> {"ok":true,"links":[{"name":...,"layer":...}]}
 *     {"do":"capture","links":"all","snaplen":262144,"drops":true,"layer":"L3","count":100}
 *                                                -> {"ok":true,"links":[...]}, and from then on bytes of pcapng
 *     anything else                              -> {"ok":false,"code":...,"message":...}
 *
 * A capture ends, complete, when the client ends its side of the connection.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import type { Layer } from '../engine/app.ts';
import type { Network } from '../engine/network.ts';
import { checkOptions } from '../engine/options.ts';
import type { NetworkReport } from '../engine/report.ts';
import { type ErrorCode, TunconnectorError } from '../errors.ts';
import { capturableLinks, captureLink, type LinkCapture } from './capture.ts';
import { streamOutput } from './live-capture-file.ts';

const DIRECTORY = 'tunconnector';
const SUFFIX = '.sock';
/** Bytes of a request, newline not counted. */
const MAX_LINE = 64 << 10;
const MAX_CONNECTIONS = 64;
/** How long `close` waits for readers to take the end of their captures, ms. */
const GRACE = 500;
/** sockaddr_un's sun_path, with its terminator. */
const MAX_PATH = 108;

const captureSchema = z.strictObject({
  do: z.literal('capture'),
  links: z.union([z.string(), z.array(z.string()).max(1024)]).default('all'),
  snaplen: z
    .number()
    .int()
    .min(1)
    .max(1 << 20)
    .optional(),
  drops: z.boolean().default(false),
  layer: z.enum(['L2', 'L3', 'datagram']).optional(),
  count: z.number().int().positive().optional(),
});

/** What to capture: see `captureLink`. */
export type CaptureRequest = Omit<z.input<typeof captureSchema>, 'do'>;

export interface Control {
  /** The socket's path. */
  readonly path: string;
  /** Ends all captures and connections, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Makes a network reachable for other programs of the same user under `name` (of a tunnel: its interface).
 * @throws ERR_SOCKET when the name is taken by a living network, or there is nowhere to put the socket
 */
export async function serveControl(network: Network, name: string): Promise<Control> {
  const { directory, made } = firstDirectory();
  const connections = new Set<Connection>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const connection = new Connection(network, socket);
    connections.add(connection);
    socket.on('close', () => connections.delete(connection));
  });
  server.maxConnections = MAX_CONNECTIONS;
  let file: string;
  try {
    file = socketPath(directory, name);
    await listen(server, file);
  } catch (error) {
    removeDirectory(made);
    throw error;
  }
  chmodSync(file, 0o600);
  // It serves as long as the network keeps the process alive, and no longer.
  server.unref();
  let closing: Promise<void> | undefined;
  const close = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    await Promise.all([...connections].map((each) => each.close()));
    await closed;
    removeDirectory(made);
  };
  return {
    path: file,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

/** One client. Requests are answered in their order, the next only when the last answer has left. */
class Connection {
  readonly #network: Network;
  readonly #socket: Socket;
  #line: Buffer = Buffer.alloc(0);
  #capture: LinkCapture | undefined;

  constructor(network: Network, socket: Socket) {
    this.#network = network;
    this.#socket = socket;
    socket.unref();
    socket.on('error', () => socket.destroy());
    socket.on('close', () => void this.#capture?.stop());
    socket.on('end', () => {
      if (this.#capture) void this.#capture.stop();
      else socket.end();
    });
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('drain', () => this.#answerAll());
  }

  #receive(chunk: Buffer): void {
    if (this.#capture) return; // a capture's client has nothing more to say
    this.#line = this.#line.length === 0 ? chunk : Buffer.concat([this.#line, chunk]);
    this.#answerAll();
  }

  #answerAll(): void {
    const socket = this.#socket;
    while (!this.#capture && !socket.destroyed) {
      // Who does not read its answers is not listened to.
      if (socket.writableNeedDrain) {
        socket.pause();
        return;
      }
      const end = this.#line.indexOf('\n');
      if (end > MAX_LINE || (end < 0 && this.#line.length > MAX_LINE)) {
        this.#refuse(new TunconnectorError('ERR_USAGE', `a request is longer than ${MAX_LINE} bytes`));
        this.#line = Buffer.alloc(0);
        socket.destroySoon();
        return;
      }
      if (end < 0) break;
      const line = this.#line.toString('utf8', 0, end);
      this.#line = this.#line.subarray(end + 1);
      this.#answer(line);
    }
    if (!this.#capture) socket.resume();
  }

  #answer(line: string): void {
    try {
      const request = parseRequest(line);
      const what = request.do;
      if (what === 'report') this.#send({ ok: true, report: this.#network.report() });
      else if (what === 'links') this.#send({ ok: true, links: linkList(this.#network) });
      else if (what === 'capture') this.#startCapture(checkOptions(captureSchema, request));
      else
        throw new TunconnectorError(
          'ERR_USAGE',
          `found the request ${JSON.stringify(what)}, expected report, links or capture`,
        );
    } catch (error) {
      this.#refuse(error);
    }
  }

  #startCapture({ links, snaplen, drops, layer, count }: z.output<typeof captureSchema>): void {
    const socket = this.#socket;
    const output = streamOutput(socket, { name: 'the control socket', onLeave: () => {} });
    // The answer goes first, and the capture begins with a chunk of its own.
    const held: Uint8Array[] = [];
    let write = (chunk: Uint8Array): void => void held.push(chunk);
    const capture = captureLink(
      this.#network,
      links,
      {
        get pending() {
          return output.pending;
        },
        onFailure: undefined,
        write: (chunk) => write(chunk),
        end: () => output.end(),
      },
      { snapLength: snaplen, drops, layer, count },
    );
    this.#send({ ok: true, links: capture.links });
    write = (chunk) => output.write(chunk);
    for (const chunk of held) write(chunk);
    this.#capture = capture;
    this.#line = Buffer.alloc(0);
  }

  #refuse(error: unknown): void {
    const { code = 'ERR_USAGE', message } = error as { code?: string; message: string };
    this.#send({ ok: false, code, message });
  }

  #send(answer: object): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(answer)}\n`);
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    const closed = new Promise<void>((resolve) => {
      if (socket.closed) resolve();
      socket.once('close', () => resolve());
    });
    // A reader that has stopped reading must not hold up the end of the network.
    const timer = setTimeout(() => socket.destroy(), GRACE);
    if (this.#capture) await this.#capture.stop();
    socket.destroySoon();
    await closed;
    clearTimeout(timer);
  }
}

function parseRequest(line: string): { do?: unknown } {
  let request: unknown;
  try {
    request = JSON.parse(line);
  } catch {
    throw new TunconnectorError('ERR_USAGE', 'a request is not JSON');
  }
  if (typeof request === 'object' && request !== null && !Array.isArray(request)) return request;
  throw new TunconnectorError('ERR_USAGE', 'a request is not a JSON object');
}

const linkList = (network: Network): ControlLink[] =>
  capturableLinks(network)
    .filter(({ name }) => !name.startsWith('cut:'))
    .map(({ name, layer }) => ({ name, layer }));

// ── The client.

export interface ControlLink {
  name: string;
  layer?: Layer;
}

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
      const socket = await tryConnect(path.join(directory, file));
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

/** The connection, or undefined when nobody listens there. Throws when there may be somebody and it cannot be told. */
function tryConnect(file: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: file, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      // What breaks later is seen by whoever reads.
      socket.on('error', () => {});
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK')
        resolve(undefined);
      else if (error.code === 'EACCES' || error.code === 'EPERM') {
        reject(
          new TunconnectorError('ERR_PERMISSION', `${file}: another user's network`, {
            cause: error,
            errno: error.code,
            syscall: 'connect',
            remedy: 'run this as that user, or as root',
          }),
        );
      } else reject(socketError(file, error));
    });
  });
}

// ── Where the sockets are.

/** The first is where a new one goes; root finds those of services, which have no XDG_RUNTIME_DIR, in the second. */
function directories(): string[] {
  const own = process.env.XDG_RUNTIME_DIR;
  const bases = own && path.isAbsolute(own) ? [own, '/run'] : ['/run'];
  return [...new Set(bases)].map((base) => path.join(base, DIRECTORY));
}

function socketPath(directory: string, name: string): string {
  if (!/^[\w][\w.@-]{0,63}$/.test(name)) {
    throw new TunconnectorError(
      'ERR_CONFIG',
      `found the network name "${name}", expected letters, digits, ".", "_", "-"`,
    );
  }
  const file = path.join(directory, name + SUFFIX);
  if (Buffer.byteLength(file) >= MAX_PATH) {
    throw new TunconnectorError('ERR_SOCKET', `the path ${file} is too long for a socket`, {
      remedy: 'set XDG_RUNTIME_DIR to a shorter directory',
    });
  }
  return file;
}

/** Where a new socket goes, and the same again when the directory was made for it, to be removed afterwards. */
function firstDirectory(): { directory: string; made: string | undefined } {
  let failure: unknown;
  for (const directory of directories()) {
    try {
      return { directory, made: makeDirectory(directory) ? directory : undefined };
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/** False when it was there. It must be ours alone: whoever can write to it owns the sockets. */
function makeDirectory(directory: string): boolean {
  try {
    mkdirSync(directory, { mode: 0o700 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw socketError(directory, error);
  }
  const { uid, mode } = lstatSync(directory);
  const isDirectory = (mode & 0o170000) === 0o040000;
  if (!isDirectory || uid !== process.geteuid?.() || (mode & 0o022) !== 0) {
    throw new TunconnectorError(
      'ERR_PERMISSION',
      `${directory} is not a directory that only this user can write to`,
      {
        remedy: 'remove it, or set XDG_RUNTIME_DIR',
      },
    );
  }
  return false;
}

/** Others may have put sockets there meanwhile. */
function removeDirectory(directory: string | undefined): void {
  if (!directory) return;
  try {
    rmdirSync(directory);
  } catch {
    // It is in use.
  }
}

function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Listens, in place of a process that died without removing its socket if need be. */
async function listen(server: Server, file: string): Promise<void> {
  try {
    await listenOnce(server, file);
    return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw socketError(file, error);
  }
  const living = await tryConnect(file);
  if (living) {
    living.destroy();
    throw new TunconnectorError(
      'ERR_SOCKET',
      `a network "${path.basename(file, SUFFIX)}" is running already`,
      {
        remedy: 'choose another name, or end that one',
      },
    );
  }
  try {
    unlinkSync(file);
    await listenOnce(server, file);
  } catch (error) {
    throw socketError(file, error);
  }
}

function listenOnce(server: Server, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(file, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

function socketError(file: string, error: unknown): TunconnectorError {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  return new TunconnectorError('ERR_SOCKET', `${file}: ${code ?? message} (${syscall ?? 'socket'})`, {
    cause: error,
    errno: code,
    syscall,
    remedy: 'set XDG_RUNTIME_DIR to a directory of your own',
  });
}
