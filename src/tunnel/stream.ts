/**
 * The `stream` format: TCP, and each inner packet behind its length in two bytes. This is what simpletun and its
 * many descendants speak: one peer at a time, no handshake, no control messages. The app has its sockets itself.
 *
 *   inside -> TCP   packets become records in one buffer (stream-outbox.ts), written in one call; while the kernel
 *                   has no room nothing is taken from the link, and everything upstream stops
 *   TCP -> inside   the kernel fills a large slot of the pool, records are found in it (stream-framing.ts) and
 *                   copied into slots of their own, as many as there is room for
 *
 * A server keeps its peer until that is gone. Who connects meanwhile waits, and takes over with its first good packet:
 * a client that starts anew where nobody told the server is served at once, and who merely connects disturbs nobody.
 * One waits at a time, the newest.
 */
import { constants } from 'node:os';
import { z } from 'zod';
import { ADDRESS_ROW, describeRow } from '../engine/address-book.ts';
import {
  type App,
  type AppContext,
  type AppEvent,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../engine/app.ts';
import { configError } from '../engine/config.ts';
import type { Link } from '../engine/link.ts';
import { checkOptions } from '../engine/options.ts';
import type { Pool } from '../engine/pool.ts';
import type { Watch } from '../engine/runtime.ts';
import { MILLISECOND } from '../engine/units.ts';
import { TunconnectorError } from '../errors.ts';
import { HEADROOM, LARGE_SLOT } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../packet/prefix.ts';
import { scopeOf } from '../tun/scope.ts';
import { systemError } from '../tun/system-error.ts';
import { decapsulateRaw } from './decapsulate.ts';
import {
  CLOSED,
  type Connection,
  DEAD_AFTER,
  type Ending,
  endingOf,
  NEW_TARGET,
  OUT_OF_STEP,
  Redial,
  type StreamSockets,
  UNSENT,
} from './stream-connection.ts';
import { Found, MAX_RECORD, RecordReader } from './stream-framing.ts';
import { Outbox } from './stream-outbox.ts';
import { StreamDrop } from './stream-reasons.ts';

const { EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM } = constants.errno;
/** Reads per pull, so that records without packets cannot keep the thread. */
const READS = 8;
/** Connections taken per round. */
const ACCEPTS = 16;
/** Until the next try where the process or the system has no descriptor left. */
const ACCEPT_AGAIN = 250 * MILLISECOND;

const schema = z.strictObject({
  layer: z.enum(['L3', 'L2']).default('L3'),
  /** A server: where it waits for its peer. `0.0.0.0:55555`; `[::]:55555` takes IPv4 as well; port 0 for any. */
  listen: z.string().optional(),
  /** A client: where its peer listens. */
  connect: z.string().optional(),
  /** Longest packet in a record, bytes (on layer 2, of the frame): longer ones are dropped, coming and going. */
  mtu: z.number().int().min(68).max(MAX_RECORD).default(MAX_RECORD),
  /** Path of a network namespace to have the sockets in. */
  netns: z.string().default(''),
});

export type StreamTunnelOptions = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

/** What a stream tunnel tells its owner. */
export interface StreamNotice extends AppEvent {
  /**
   * `up`: the peer is there. `gone`: it is not any more. `moved`: another connection took over on a server.
   * `resolve`: a client gets no answer; its peer's name may mean another address by now.
   */
  type: 'up' | 'gone' | 'moved' | 'resolve';
  /** The peer's outer address, `192.168.6.9:55555`. */
  outer: string;
  /** Of `gone` and `resolve`: `closed`, `reset`, `timeout`, `refused`, `unreachable`, `out-of-step`, ...; else empty. */
  reason: string;
  /** The same for people. */
  text: string;
}

export class StreamTunnel implements App {
  readonly inputs = ['inside'];
  readonly outputs = ['inside'];
  readonly required = ['inside'];
  readonly paths = { inside: [] };
  readonly superframes = true;
  readonly layers: Readonly<Record<string, Layer>>;
  readonly #layer: 2 | 3;
  readonly #sockets: () => StreamSockets;
  #options: Checked;
  #endpoint: Endpoint;
  #context: AppContext | undefined;
  #pool: Pool | undefined;
  /** Large slots that serve as buffers. */
  #slots: number[] = [];
  #spareInboxes: RecordReader[] = [];
  #outbox: Outbox | undefined;
  #listener: { fd: number; port: number; watch: Watch } | undefined;
  #acceptAt = Number.POSITIVE_INFINITY;
  readonly #row = new Uint8Array(ADDRESS_ROW);
  /** The one that packets come from and go to. */
  #peer: Connection | undefined;
  /** On a server: connected, but the peer is still there. */
  #newcomer: Connection | undefined;
  /** On a client: being connected. */
  #dialling: Connection | undefined;
  #redial: Redial | undefined;
  /** More may be waiting to come in, and nothing else would make the network breathe. */
  #again = false;
  #inside: Link | undefined;
  /** Another peer was asked for. */
  #retarget = false;

  // Since the start.
  #connections = 0;
  #takeovers = 0;
  #dismissed = 0;
  #failedAttempts = 0;
  #outOfStep = 0;
  #acceptErrors = 0;
  #recordsIn = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(options: Checked, sockets: () => StreamSockets = native) {
    this.#options = options;
    this.#layer = options.layer === 'L2' ? 2 : 3;
    this.layers = { inside: options.layer };
    this.#endpoint = endpointOf(options);
    this.#sockets = sockets;
  }

  // ── 1. opening

  open(context: AppContext): void {
    this.#context = context;
    this.#pool = context.pool;
    try {
      const { mtu, listen } = this.#options;
      const inboxes = listen === undefined ? 1 : 2;
      for (let i = 0; i < inboxes; i++) this.#spareInboxes.push(this.#newInbox());
      const [base, size] = this.#newBuffer();
      this.#outbox = new Outbox(context.pool, mtu, base, size);
      if (listen !== undefined) this.#listen();
      else {
        this.#redial = new Redial(context.runtime.now());
        this.#dial(context.runtime.now(), true);
      }
    } catch (error) {
      this.close();
      throw systemError(error, `the TCP ${this.#server ? 'port' : 'peer'} ${formatEndpoint(this.#endpoint)}`);
    }
  }

  get #server(): boolean {
    return this.#options.listen !== undefined;
  }

  /** A span of the slab for this app alone: copies within one array are a single memmove. */
  #newBuffer(): [base: number, size: number] {
    const { pool, account } = this.#context!;
    const slot = pool.allocLarge(account);
    if (slot < 0) throw new TunconnectorError('ERR_LIMIT', 'no large packet slot is left for a TCP buffer');
    this.#slots.push(slot);
    return [pool.offset[slot], LARGE_SLOT - HEADROOM];
  }

  #newInbox(): RecordReader {
    const [base, size] = this.#newBuffer();
    return new RecordReader(this.#layer, this.#options.mtu, this.#pool!.slab, base, size);
  }

  #listen(): void {
    const { fd, port } = this.#sockets().tcpListen(this.#address());
    this.#listener = { fd, port, watch: this.#watch(fd) };
    // Somebody may have come before anybody watched.
    this.#listener.watch.readable = true;
  }

  #address() {
    const { address, port } = this.#endpoint;
    const { netns } = this.#options;
    const bytes = new Uint8Array(16);
    bytes.set(address.bytes);
    const scope = scopeOf(address.zone, netns);
    return {
      family: address.family,
      address: bytes,
      scope,
      port,
      netns,
      timeout: DEAD_AFTER,
      unsent: UNSENT,
    };
  }

  /** Watches a fresh descriptor, or closes it. */
  #watch(fd: number): Watch {
    try {
      return this.#context!.watch(fd);
    } catch (error) {
      this.#sockets().close(fd);
      throw error;
    }
  }

  // ── 2. who the peer is

  /** Everything about connections that is due. */
  #tend(now: number): void {
    const sockets = this.#sockets();
    if (this.#retarget) this.#turnTo(now);
    if (this.#peer?.watch.failed) this.#lose(endingOf(sockets.tcpError(this.#peer.fd)), now);
    if (this.#newcomer?.watch.failed) this.#dismiss();
    if (this.#listener?.watch.readable) this.#accept(now);
    if (this.#dialling) this.#dialled(now);
    if (this.#redial && now >= this.#redial.at) this.#dial(now, false);
  }

  #accept(now: number): void {
    if (this.#acceptAt !== Number.POSITIVE_INFINITY && now < this.#acceptAt) return;
    this.#acceptAt = now;
    const { fd: listener, watch } = this.#listener!;
    for (let i = 0; i < ACCEPTS; i++) {
      const fd = this.#sockets().tcpAccept(listener, this.#row);
      if (fd >= 0) {
        this.#admit(fd, describeRow(this.#row));
        continue;
      }
      if (fd === -EAGAIN) {
        watch.readable = false;
        this.#acceptAt = Number.POSITIVE_INFINITY;
        return;
      }
      this.#acceptErrors++;
      const exhausted = fd === -EMFILE || fd === -ENFILE || fd === -ENOBUFS || fd === -ENOMEM;
      // What else may come are errors of connections that ended in the queue.
      if (exhausted || (fd !== -ECONNABORTED && i === ACCEPTS - 1)) {
        this.#acceptAt = now + ACCEPT_AGAIN;
        return;
      }
    }
  }

  #admit(fd: number, outer: string): void {
    this.#connections++;
    if (this.#newcomer) this.#dismiss();
    const connection = { fd, watch: this.#watch(fd), inbox: this.#spareInboxes.pop()!, outer };
    if (this.#peer) this.#newcomer = connection;
    else this.#welcome(connection, 'up');
  }

  #welcome(connection: Connection, type: 'up' | 'moved'): void {
    this.#peer = connection;
    // It may have spoken already.
    this.#again = true;
    this.#context!.wake();
    this.#emit({ type, outer: connection.outer, reason: '', text: '' });
  }

  /** Reads what the newcomer says. Its first good packet makes it the peer; nonsense ends it. */
  #hear(newcomer: Connection): void {
    const { inbox, watch } = newcomer;
    for (let reads = 0; ; ) {
      switch (inbox.next()) {
        case Found.Packet:
          this.#takeOver(newcomer);
          return;
        case Found.Bad:
          this.#pool!.countDrops(inbox.reason, 1);
          break;
        case Found.Lost:
          this.#pool!.countDrops(inbox.reason, 1);
          this.#outOfStep++;
          this.#dismiss();
          return;
        default: {
          if (!watch.readable) return;
          if (reads++ === READS) {
            this.#again = true;
            return;
          }
          const n = this.#read(newcomer);
          if (n === -EAGAIN) return;
          if (n <= 0) {
            this.#dismiss();
            return;
          }
        }
      }
    }
  }

  #takeOver(newcomer: Connection): void {
    this.#takeovers++;
    this.#outbox!.clear();
    this.#end(this.#peer!);
    this.#newcomer = undefined;
    this.#welcome(newcomer, 'moved');
  }

  #dismiss(): void {
    this.#dismissed++;
    this.#end(this.#newcomer!);
    this.#newcomer = undefined;
  }

  /** The peer is gone. Who waits takes its place; a client tries to get it back. */
  #lose({ reason, text }: Ending, now: number): void {
    const { outer } = this.#peer!;
    this.#outbox!.clear();
    this.#end(this.#peer!);
    this.#peer = undefined;
    this.#emit({ type: 'gone', outer, reason, text });
    this.#redial?.lost(now);
    if (this.#newcomer) {
      const next = this.#newcomer;
      this.#newcomer = undefined;
      this.#welcome(next, 'up');
    }
  }

  #end({ fd, watch, inbox }: Connection): void {
    watch.close();
    this.#sockets().close(fd);
    inbox.reset();
    this.#spareInboxes.push(inbox);
  }

  // ── 3. a client's attempts

  /** @param first whether this is part of opening, where what is wrong with the options is an error */
  #dial(now: number, first: boolean): void {
    this.#redial!.started(now);
    let fd: number;
    try {
      fd = this.#sockets().tcpConnect(this.#address());
    } catch (error) {
      // No route now: later there may be one. A namespace that does not exist is another matter.
      const { errno, syscall } = error as { errno?: number; syscall?: string };
      if (first && !syscall?.startsWith('connect')) throw error;
      this.#missed(endingOf(Math.abs(errno ?? 0)), now);
      return;
    }
    const watch = this.#watch(fd);
    watch.awaitWritable();
    this.#dialling = { fd, watch, inbox: this.#spareInboxes.pop()!, outer: formatEndpoint(this.#endpoint) };
  }

  #dialled(now: number): void {
    const connection = this.#dialling!;
    if (connection.watch.writable) {
      const errno = this.#sockets().tcpError(connection.fd);
      this.#dialling = undefined;
      if (errno === 0) {
        this.#connections++;
        this.#redial!.connected(now);
        this.#welcome(connection, 'up');
        return;
      }
      this.#end(connection);
      this.#missed(endingOf(errno), now);
    } else if (now >= this.#redial!.giveUpAt) {
      this.#dialling = undefined;
      this.#end(connection);
      this.#missed(endingOf(constants.errno.ETIMEDOUT), now);
    }
  }

  /** Ends what there is with the former peer, and connects to the new one. */
  #turnTo(now: number): void {
    this.#retarget = false;
    if (this.#dialling) this.#end(this.#dialling);
    this.#dialling = undefined;
    if (this.#peer) this.#lose(NEW_TARGET, now);
    this.#redial = new Redial(now);
  }

  #missed({ reason, text }: Ending, now: number): void {
    this.#failedAttempts++;
    this.#redial!.failed(now);
    if (!this.#redial!.resolveDue(now)) return;
    this.#emit({ type: 'resolve', outer: formatEndpoint(this.#endpoint), reason, text });
  }

  // ── 4. from TCP to the inside

  pull({ output, now }: Ports, room: number): boolean {
    this.#inside = output.inside;
    this.#again = false;
    if (this.#newcomer) this.#hear(this.#newcomer);
    const more = this.#peer !== undefined && this.#receive(this.#peer, output.inside, room, now);
    return more || this.#again;
  }

  #receive(peer: Connection, out: Link, room: number, now: number): boolean {
    const pool = this.#pool!;
    const { inbox, watch } = peer;
    const account = this.#context!.account;
    let reads = 0;
    for (let left = room; left > 0; ) {
      switch (inbox.next()) {
        case Found.Packet: {
          const { at, length } = inbox;
          const packet = pool.allocFor(length, account);
          // It stays in the buffer, and TCP makes its sender wait, until some packet downstream is freed.
          if (packet < 0) return true;
          pool.slab.copyWithin(pool.offset[packet], at, at + length);
          inbox.pass();
          this.#recordsIn++;
          pool.length[packet] = length;
          pool.arrival[packet] = now;
          const problem = decapsulateRaw(pool, packet, this.#layer);
          if (problem !== 0) pool.drop(packet, problem);
          else {
            out.put(packet);
            left--;
          }
          break;
        }
        case Found.Bad:
          pool.countDrops(inbox.reason, 1);
          break;
        case Found.Lost:
          pool.countDrops(inbox.reason, 1);
          this.#outOfStep++;
          this.#lose(OUT_OF_STEP, now);
          return true;
        default: {
          if (!watch.readable) return false;
          if (reads++ === READS) {
            this.#again = true;
            return true;
          }
          const n = this.#read(peer);
          if (n === -EAGAIN) return false;
          if (n <= 0) {
            this.#lose(n === 0 ? CLOSED : endingOf(-n), now);
            return true;
          }
        }
      }
    }
    return true;
  }

  /** Bytes that came in; 0 at the end of the stream; -errno. */
  #read({ fd, watch, inbox }: Connection): number {
    const room = inbox.makeRoom();
    const n = this.#sockets().read(fd, this.#pool!.slab, inbox.end, room);
    if (n > 0) {
      inbox.added(n);
      this.#bytesIn += n;
    } else if (n === -EAGAIN) watch.readable = false;
    return n;
  }

  // ── 5. from the inside to TCP

  push({ input, now }: Ports): void {
    this.#tend(now);
    const link = input.inside;
    const outbox = this.#outbox!;
    const { writer } = outbox;
    for (;;) {
      const peer = this.#peer;
      if (!peer) {
        link.clear(StreamDrop.NotConnected);
        return;
      }
      if (!peer.watch.writable) return;
      if (writer.empty) outbox.fill(link);
      if (writer.empty) return;
      const n = this.#sockets().write(peer.fd, writer.bytes, writer.start, writer.end - writer.start);
      if (n > 0) {
        writer.sent(n);
        this.#bytesOut += n;
      }
      if (n < 0 && n !== -EAGAIN) this.#lose(endingOf(-n), now);
      else if (!writer.empty) peer.watch.awaitWritable();
    }
  }

  nextDeadline(): number {
    // Where there is no room, the network comes back by itself when there is.
    if (this.#again && (this.#inside?.room ?? 1) > 0) return 0;
    const accept = this.#acceptAt;
    const redial = this.#redial;
    return redial ? Math.min(accept, redial.at, redial.giveUpAt) : accept;
  }

  held(): number {
    return this.#outbox?.held ?? 0;
  }

  // ── 6. changes, reports, the end

  canReconfigure(options: unknown): boolean {
    const { layer, listen, connect, netns } = options as Checked;
    const now = this.#options;
    if (layer !== now.layer || listen !== now.listen || netns !== now.netns) return false;
    return (connect === undefined) === (now.connect === undefined);
  }

  reconfigure(options: unknown): void {
    const before = this.#options;
    this.#options = options as Checked;
    const { connect, mtu } = this.#options;
    this.#outbox!.longest = mtu;
    for (const inbox of [
      ...this.#spareInboxes,
      this.#peer?.inbox,
      this.#newcomer?.inbox,
      this.#dialling?.inbox,
    ]) {
      if (inbox) inbox.longest = mtu;
    }
    if (connect === before.connect) return;
    this.#endpoint = endpointOf(this.#options);
    this.#retarget = true;
    this.#context!.wake();
  }

  /** The port a server listens on. */
  get localPort(): number {
    return this.#listener?.port ?? 0;
  }

  report(): AppReport {
    return {
      connected: this.#peer !== undefined,
      outer: this.#peer?.outer ?? '',
      localPort: this.localPort,
      connections: this.#connections,
      takeovers: this.#takeovers,
      dismissed: this.#dismissed,
      failedAttempts: this.#failedAttempts,
      outOfStep: this.#outOfStep,
      acceptErrors: this.#acceptErrors,
      recordsIn: this.#recordsIn,
      bytesIn: this.#bytesIn,
      recordsOut: this.#outbox?.records ?? 0,
      bytesOut: this.#bytesOut,
    };
  }

  #emit(notice: StreamNotice): void {
    this.#context!.emit(notice);
  }

  close(): void {
    this.#outbox?.clear();
    for (const connection of [this.#peer, this.#newcomer, this.#dialling])
      if (connection) this.#end(connection);
    this.#peer = this.#newcomer = this.#dialling = undefined;
    if (this.#listener) {
      this.#listener.watch.close();
      this.#sockets().close(this.#listener.fd);
      this.#listener = undefined;
    }
    for (const slot of this.#slots) this.#pool!.free(slot);
    this.#slots = [];
  }
}

function endpointOf({ listen, connect }: Checked): Endpoint {
  return parseEndpoint(listen ?? connect!);
}

export const streamTunnel = defineApp<StreamTunnelOptions, Checked>({
  module: import.meta.url,
  export: 'streamTunnel',
  check(options) {
    const checked = checkOptions(schema, options);
    const { listen, connect } = checked;
    if ((listen === undefined) === (connect === undefined)) {
      const found = listen === undefined ? 'neither listen nor connect' : 'both listen and connect';
      throw configError(`options: found ${found}, expected one of them`);
    }
    const { port } = endpointOf(checked);
    if (connect !== undefined && port === 0) throw configError(`connect: found port 0, expected 1 to 65535`);
    return checked;
  },
  create: (options) => new StreamTunnel(options),
});
