/** Two stacks in virtual time, joined by whatever lies between. */
import { createHash } from 'node:crypto';
import { type App, Network, type Ports, VirtualRuntime } from '../../../src/engine/index.ts';
import { impair } from '../../../src/impair/impair.ts';
import * as tcp from '../../../src/packet/tcp.ts';
import type { Connection, TcpHandlers } from '../../../src/stack/index.ts';
import { Stack, type StackOptions } from '../../../src/stack/index.ts';
import type { ConnectOptions, ListenOptions } from '../../../src/stack/tcp/tcp.ts';

export const LEFT = '10.0.0.1';
export const RIGHT = '10.0.0.2';

/** A wire packet that passed a tap. */
export interface Seen {
  time: number;
  from: 'left' | 'right';
  seq: number;
  ack: number;
  flags: string;
  length: number;
  window: number;
  options: tcp.TcpOptions;
  ecn: number;
  bytes: Uint8Array;
}

export type Judge = (packet: Seen) => boolean | undefined;

/** Sees every packet, and drops those that `judge` says false of. */
class Tap implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly superframes: boolean;
  readonly seen: Seen[];
  readonly #from: 'left' | 'right';
  readonly hash = createHash('sha256');
  judge: Judge | undefined;
  keep = true;
  packets = 0;

  constructor(from: 'left' | 'right', seen: Seen[], superframes: boolean) {
    this.#from = from;
    this.seen = seen;
    this.superframes = superframes;
  }

  push({ pool, input, output, now }: Ports): void {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      this.packets++;
      if (this.keep || this.judge) {
        const bytes = pool.copyOut(packet);
        this.hash.update(bytes);
        const seen = look(bytes, now, this.#from);
        if (seen) {
          if (this.keep) this.seen.push(seen);
          if (this.judge?.(seen) === false) {
            pool.free(packet);
            continue;
          }
        }
      }
      output.out.put(packet);
    }
  }
}

function look(bytes: Uint8Array, time: number, from: 'left' | 'right'): Seen | undefined {
  const v6 = bytes[0] >> 4 === 6;
  const at = v6 ? 40 : 20;
  if ((v6 ? bytes[6] : bytes[9]) !== 6) return undefined;
  const header = tcp.parse(bytes, at);
  if (!header) return undefined;
  return {
    time,
    from,
    seq: header.sequence,
    ack: header.acknowledgment,
    flags: tcp.flagText(header.flags),
    length: bytes.length - at - tcp.headerLength(bytes, at),
    window: header.window,
    options: header.options,
    ecn: v6 ? (bytes[1] >> 4) & 3 : bytes[1] & 3,
    bytes,
  };
}

export interface PairOptions {
  seed?: number;
  /** What packets pass from the left to the right, and back; default: 10 ms. */
  way?: string;
  back?: string;
  stack?: Partial<StackOptions>;
  mtu?: number;
  superframes?: boolean;
  /** Superframes are cut into wire packets where they leave a stack, and so pass the taps and what lies between. */
  cut?: boolean;
  /** Whether taps keep what they see. */
  keep?: boolean;
}

export interface Pair extends AsyncDisposable {
  net: Network;
  runtime: VirtualRuntime;
  left: Stack;
  right: Stack;
  seen: Seen[];
  taps: { left: Tap; right: Tap };
  /** Of everything that passed, both ways. */
  digest(): string;
}

export async function pair(options: PairOptions = {}): Promise<Pair> {
  const { seed = 1, mtu = 1500, superframes = false, cut = false, keep = true } = options;
  const runtime = new VirtualRuntime({ seed });
  const net = new Network(runtime, { memory: 512 << 20 });
  const host = (address: string) =>
    new Stack({
      ...options.stack,
      interfaces: [
        { name: 'eth0', addresses: [`${address}/24`, `fd00::${address.slice(-1)}/64`], mtu, superframes },
      ],
    });
  const left = host(LEFT);
  const right = host(RIGHT);
  const seen: Seen[] = [];
  const whole = superframes && !cut;
  const taps = { left: new Tap('left', seen, whole), right: new Tap('right', seen, whole) };
  taps.left.keep = taps.right.keep = keep;
  net.app('left', left).app('right', right).app('tapL', taps.left).app('tapR', taps.right);
  const { way = 'delay 10ms', back = way } = options;
  net.app('up', impair({ stages: way, seed, quantum: 0 }));
  net.app('down', impair({ stages: back, seed: seed + 1, quantum: 0 }));
  net
    .link('left.eth0 -> tapL.in')
    .link('tapL.out -> up.in')
    .link('up.out -> right.eth0')
    .link('right.eth0 -> tapR.in')
    .link('tapR.out -> down.in')
    .link('down.out -> left.eth0');
  await net.start();
  return {
    net,
    runtime,
    left,
    right,
    seen,
    taps,
    digest: () => `${taps.left.hash.copy().digest('hex')}/${taps.right.hash.copy().digest('hex')}`,
    [Symbol.asyncDispose]: () => net.close(),
  };
}

/** Bytes that tell where they are. */
export function pattern(from: number, into: Uint8Array): void {
  for (let i = 0; i < into.length; i++) into[i] = ((from + i) * 2654435761) >>> 24;
}

/** What one end saw. */
export class End {
  connection!: Connection;
  events: string[] = [];
  received = 0;
  wrong = 0;
  error: string | undefined;
  closedAt = -1;
  connectedAt = -1;
  /** When the last byte came. */
  lastAt = 0;
  reading = true;
  readonly #runtime: VirtualRuntime;
  readonly #into = new Uint8Array(65_536);
  readonly #expect = new Uint8Array(65_536);
  #left = 0;
  #written = 0;
  #endAfter = false;
  readonly #chunk = new Uint8Array(65_536);

  constructor(runtime: VirtualRuntime) {
    this.#runtime = runtime;
  }

  readonly handlers: TcpHandlers = {
    onConnected: () => {
      this.connectedAt = this.#runtime.now();
      this.events.push('connected');
      this.#pump();
    },
    onReadable: () => {
      if (this.reading) this.drain();
    },
    onEnd: () => this.events.push('end'),
    onWritable: () => this.#pump(),
    onClosed: (error) => {
      this.closedAt = this.#runtime.now();
      this.error = error;
      this.events.push(error ? `closed ${error}` : 'closed');
    },
  };

  drain(): void {
    for (let n = this.connection.read(this.#into); n > 0; n = this.connection.read(this.#into)) {
      pattern(this.received, this.#expect.subarray(0, n));
      for (let i = 0; i < n; i++) if (this.#into[i] !== this.#expect[i]) this.wrong++;
      this.received += n;
      this.lastAt = this.#runtime.now();
    }
  }

  /** Writes so many bytes of the pattern, as there is room, and then ends. */
  send(bytes: number, end = true): void {
    this.#left += bytes;
    this.#endAfter = end;
    this.#pump();
  }

  #pump(): void {
    while (this.#left > 0) {
      const chunk = this.#chunk.subarray(0, Math.min(this.#left, this.#chunk.length));
      pattern(this.#written, chunk);
      const n = this.connection.write(chunk);
      this.#written += n;
      this.#left -= n;
      if (n < chunk.length) return;
    }
    if (this.#endAfter) this.connection.end();
  }
}

export interface Joined {
  client: End;
  server: End;
}

/** A connection from the left to the right. Nothing has happened yet but the SYN's being asked for. */
export function join(
  { left, right, runtime }: Pair,
  options: Partial<ConnectOptions> = {},
  listen: ListenOptions = {},
): Joined {
  const client = new End(runtime);
  const server = new End(runtime);
  const listener = right.listen(listen, (connection) => {
    server.connection = connection;
    return server.handlers;
  });
  client.connection = left.connect({ address: RIGHT, port: listener.port, ...options }, client.handlers);
  return { client, server };
}
