/**
 * Who the peer of a stream tunnel is.
 *
 * A server keeps its peer until that is gone. Who connects meanwhile waits, and takes over with its first good packet:
 * a client that starts anew where nobody told the server is served at once, and who merely connects disturbs nobody.
 * One waits at a time, the newest.
 *
 * A client connects, and again when the connection is gone or nobody answers (`Redial`).
 */
import { constants } from 'node:os';
import { ADDRESS_ROW, describeRow } from '../../engine/address-book.ts';
import type { AppContext } from '../../engine/app.ts';
import type { Watch } from '../../engine/runtime.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { type Endpoint, formatEndpoint } from '../../packet/prefix.ts';
import { scopeOf } from '../../tun/scope.ts';
import {
  type Connection,
  DEAD_AFTER,
  type Ending,
  endingOf,
  NEW_TARGET,
  Redial,
  type StreamSockets,
  UNSENT,
} from './connection.ts';
import { Found, type RecordReader } from './framing.ts';
import { type CheckedStreamOptions, endpointOf, type StreamNotice } from './options.ts';

const { EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, ETIMEDOUT } = constants.errno;
/** Reads per round and connection, so that records without packets cannot keep the thread. */
export const READS = 8;
/** Connections taken per round. */
const ACCEPTS = 16;
/** Until the next try where the process or the system has no descriptor left. */
const ACCEPT_AGAIN = 250 * MILLISECOND;

export class Peering {
  /** The one that packets come from and go to. */
  peer: Connection | undefined;
  /** On a server: connected, but the peer is still there. */
  newcomer: Connection | undefined;
  /** More may be waiting to come in, and nothing else would make the network breathe. */
  again = false;
  readonly counts = {
    connections: 0,
    takeovers: 0,
    dismissed: 0,
    failedAttempts: 0,
    outOfStep: 0,
    acceptErrors: 0,
    bytesIn: 0,
  };
  readonly #context: AppContext;
  readonly #sockets: StreamSockets;
  readonly #spareInboxes: RecordReader[];
  readonly #ended: () => void;
  #options: CheckedStreamOptions;
  #endpoint: Endpoint;
  #listener: { fd: number; port: number; watch: Watch } | undefined;
  #acceptAt = Number.POSITIVE_INFINITY;
  readonly #row = new Uint8Array(ADDRESS_ROW);
  /** On a client: being connected. */
  #dialling: Connection | undefined;
  #redial: Redial | undefined;
  /** Another peer was asked for. */
  #retarget = false;

  /**
   * @param inboxes one for a client, two for a server
   * @param ended called when the peer's connection ends, before anybody is told
   */
  constructor(
    context: AppContext,
    sockets: StreamSockets,
    options: CheckedStreamOptions,
    inboxes: readonly RecordReader[],
    ended: () => void,
  ) {
    this.#context = context;
    this.#sockets = sockets;
    this.#options = options;
    this.#endpoint = endpointOf(options);
    this.#spareInboxes = [...inboxes];
    this.#ended = ended;
  }

  /** Listens, or starts to connect. Throws what the system throws when the options are wrong for this machine. */
  open(now: number): void {
    if (this.#options.connect !== undefined) {
      this.#redial = new Redial(now);
      this.#dial(now, true);
      return;
    }
    const { fd, port } = this.#sockets.tcpListen(this.#address());
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
      return this.#context.watch(fd);
    } catch (error) {
      this.#sockets.close(fd);
      throw error;
    }
  }

  /** Everything about connections that is due. */
  tend(now: number): void {
    if (this.#retarget) this.#turn(now);
    if (this.peer?.watch.failed) this.lose(endingOf(this.#sockets.tcpError(this.peer.fd)), now);
    if (this.newcomer?.watch.failed) this.#dismiss();
    if (this.#listener?.watch.readable) this.#accept(now);
    if (this.#dialling) this.#dialled(now);
    if (this.#redial && now >= this.#redial.at) this.#dial(now, false);
  }

  get deadline(): number {
    const redial = this.#redial;
    return redial ? Math.min(this.#acceptAt, redial.at, redial.giveUpAt) : this.#acceptAt;
  }

  /** The port a server listens on; 0 on a client. */
  get localPort(): number {
    return this.#listener?.port ?? 0;
  }

  // ── a server's peer and newcomer

  #accept(now: number): void {
    if (this.#acceptAt !== Number.POSITIVE_INFINITY && now < this.#acceptAt) return;
    this.#acceptAt = now;
    const { fd: listener, watch } = this.#listener!;
    for (let i = 0; i < ACCEPTS; i++) {
      const fd = this.#sockets.tcpAccept(listener, this.#row);
      if (fd >= 0) {
        this.#admit(fd, describeRow(this.#row));
        continue;
      }
      if (fd === -EAGAIN) {
        watch.readable = false;
        this.#acceptAt = Number.POSITIVE_INFINITY;
        return;
      }
      this.counts.acceptErrors++;
      // A connection that ended in the queue is no reason to wait.
      if (fd === -ECONNABORTED) continue;
      if (fd === -EMFILE || fd === -ENFILE || fd === -ENOBUFS || fd === -ENOMEM || i === ACCEPTS - 1) {
        this.#acceptAt = now + ACCEPT_AGAIN;
        return;
      }
    }
  }

  #admit(fd: number, outer: string): void {
    this.counts.connections++;
    if (this.newcomer) this.#dismiss();
    const connection = { fd, watch: this.#watch(fd), inbox: this.#spareInboxes.pop()!, outer };
    if (this.peer) this.newcomer = connection;
    else this.#welcome(connection, 'up');
  }

  #welcome(connection: Connection, type: 'up' | 'moved'): void {
    this.peer = connection;
    // It may have spoken already.
    this.again = true;
    this.#context.wake();
    this.#emit({ type, outer: connection.outer, reason: '', text: '' });
  }

  /** Reads what the newcomer says. Its first good packet makes it the peer; nonsense ends it. */
  hear(newcomer: Connection): void {
    const { inbox, watch } = newcomer;
    for (let reads = 0; ; ) {
      const found = inbox.next();
      if (found === Found.Packet) {
        this.#takeOver(newcomer);
        return;
      }
      if (found !== Found.More) {
        this.#context.pool.countDrops(inbox.reason, 1);
        if (found === Found.Bad) continue;
        this.counts.outOfStep++;
        this.#dismiss();
        return;
      }
      if (!watch.readable) return;
      if (reads++ === READS) {
        this.again = true;
        return;
      }
      const n = this.read(newcomer);
      if (n === -EAGAIN) return;
      if (n <= 0) {
        this.#dismiss();
        return;
      }
    }
  }

  #takeOver(newcomer: Connection): void {
    this.counts.takeovers++;
    this.#ended();
    this.#end(this.peer!);
    this.newcomer = undefined;
    this.#welcome(newcomer, 'moved');
  }

  #dismiss(): void {
    this.counts.dismissed++;
    this.#end(this.newcomer!);
    this.newcomer = undefined;
  }

  /** The peer is gone. Who waits takes its place; a client tries to get it back. */
  lose({ reason, text }: Ending, now: number): void {
    const { outer } = this.peer!;
    this.#ended();
    this.#end(this.peer!);
    this.peer = undefined;
    this.#emit({ type: 'gone', outer, reason, text });
    this.#redial?.lost(now);
    if (!this.newcomer) return;
    const next = this.newcomer;
    this.newcomer = undefined;
    this.#welcome(next, 'up');
  }

  /** Bytes that came in; 0 at the end of the stream; -errno. */
  read({ fd, watch, inbox }: Connection): number {
    const room = inbox.makeRoom();
    const n = this.#sockets.read(fd, inbox.bytes, inbox.end, room);
    if (n > 0) {
      inbox.added(n);
      this.counts.bytesIn += n;
    } else if (n === -EAGAIN) watch.readable = false;
    return n;
  }

  #end({ fd, watch, inbox }: Connection): void {
    watch.close();
    this.#sockets.close(fd);
    inbox.reset();
    this.#spareInboxes.push(inbox);
  }

  // ── a client's attempts

  /** @param first whether this is part of opening, where what is wrong with the options is an error */
  #dial(now: number, first: boolean): void {
    this.#redial!.started(now);
    let fd: number;
    try {
      fd = this.#sockets.tcpConnect(this.#address());
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
    const expired = now >= this.#redial!.giveUpAt;
    if (!connection.watch.writable && !expired) return;
    this.#dialling = undefined;
    const errno = connection.watch.writable ? this.#sockets.tcpError(connection.fd) : ETIMEDOUT;
    if (errno === 0) {
      this.counts.connections++;
      this.#redial!.connected(now);
      this.#welcome(connection, 'up');
    } else {
      this.#end(connection);
      this.#missed(endingOf(errno), now);
    }
  }

  #missed({ reason, text }: Ending, now: number): void {
    this.counts.failedAttempts++;
    this.#redial!.failed(now);
    if (!this.#redial!.resolveDue(now)) return;
    this.#emit({ type: 'resolve', outer: formatEndpoint(this.#endpoint), reason, text });
  }

  /** Takes new options that differ in the peer's address at most. It is turned to in the next round. */
  reconfigure(options: CheckedStreamOptions): void {
    this.#retarget ||= options.connect !== this.#options.connect;
    this.#options = options;
    if (this.#retarget) this.#context.wake();
  }

  #turn(now: number): void {
    this.#retarget = false;
    if (this.#dialling) this.#end(this.#dialling);
    this.#dialling = undefined;
    if (this.peer) this.lose(NEW_TARGET, now);
    this.#endpoint = endpointOf(this.#options);
    this.#redial = new Redial(now);
  }

  #emit(notice: StreamNotice): void {
    this.#context.emit(notice);
  }

  close(): void {
    for (const each of [this.peer, this.newcomer, this.#dialling]) if (each) this.#end(each);
    this.peer = this.newcomer = this.#dialling = undefined;
    if (!this.#listener) return;
    this.#listener.watch.close();
    this.#sockets.close(this.#listener.fd);
    this.#listener = undefined;
  }
}
