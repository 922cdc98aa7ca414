/**
 * The control socket of a running network: how `tunconnector capture` and `top` look into another process.
 *
 * A Unix socket `tunconnector/<name>.sock` in `$XDG_RUNTIME_DIR`, or else in `/run`, for its owner alone. Requests and
 * answers are one line of JSON each:
 *
 *     {"do":"report"}                            -> {"ok":true,"report":{...}}
 *     {"do":"links"}                             -> {"ok":true,"links":[{"name":...,"layer":...}]}
 *     {"do":"capture","links":"all","snaplen":262144,"drops":true,"layer":"L3","count":100,"merge":"tun0"}
 *                                                -> {"ok":true,"links":[...]}, and from then on bytes of pcapng
 *     anything else                              -> {"ok":false,"code":...,"message":...}
 *
 * A capture ends, complete, when the client ends its side of the connection.
 */
import { chmodSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import type { Layer } from '../../engine/app.ts';
import type { Network } from '../../engine/network.ts';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';
import { type CaptureOutput, captureLink, type LinkCapture, writtenLinks } from '../capture/capture.ts';
import { streamOutput } from '../capture/live-file.ts';
import { firstDirectory, removeDirectory, SUFFIX, socketError, socketPath, tryConnect } from './live-path.ts';

/** Bytes of a request, newline not counted. */
const MAX_LINE = 64 << 10;
const MAX_CONNECTIONS = 64;
/** How long `close` waits for readers to take the end of their captures, ms. */
const GRACE = 500;

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
  merge: z.string().max(1024).optional(),
});

/** What to capture: see `captureLink`. */
export type CaptureRequest = Omit<z.input<typeof captureSchema>, 'do'>;

export interface ControlLink {
  name: string;
  layer?: Layer;
}

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

  #startCapture({ links, snaplen, drops, layer, count, merge }: z.output<typeof captureSchema>): void {
    const socket = this.#socket;
    const output = streamOutput(socket, { name: 'the control socket', reuse: true, onLeave: () => {} });
    // The answer goes first, and the capture begins with a chunk of its own.
    const held: [chunk: Uint8Array, release: () => void][] = [];
    let write: CaptureOutput['write'] = (...each) => void held.push(each);
    const capture = captureLink(
      this.#network,
      links,
      {
        get pending() {
          return output.pending;
        },
        onFailure: undefined,
        write: (chunk, release) => write(chunk, release),
        end: () => output.end(),
      },
      { snapLength: snaplen, drops, layer, count, merge },
    );
    this.#send({ ok: true, links: capture.links });
    write = output.write;
    for (const each of held) write(...each);
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
  writtenLinks(network).map(({ name, layer }) => ({ name, layer }));

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
