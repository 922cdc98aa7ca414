/**
 * The `stream` format: TCP, and each inner packet behind its length in two bytes. This is what simpletun and its
 * many descendants speak: one peer at a time (stream-peering.ts), no handshake, no control messages. The app has its
 * sockets itself.
 *
 *   1. TCP -> inside   the kernel fills a large slot of the pool, records are found in it (stream-framing.ts) and
 *                      copied into slots of their own, as many as there is room for
 *   2. inside -> TCP   packets become records in one buffer (stream-outbox.ts), written in one call; while the kernel
 *                      has no room nothing is taken from the link, and everything upstream stops
 */
import { constants } from 'node:os';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../../engine/app.ts';
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import { TunconnectorError } from '../../errors.ts';
import { HEADROOM, LARGE_SLOT } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { formatEndpoint } from '../../packet/prefix.ts';
import { systemError } from '../../tun/system-error.ts';
import { decapsulateRaw } from '../decapsulate.ts';
import { CLOSED, type Connection, endingOf, OUT_OF_STEP, type StreamSockets } from './connection.ts';
import { Found, RecordReader } from './framing.ts';
import {
  type CheckedStreamOptions,
  checkStreamOptions,
  endpointOf,
  type StreamTunnelOptions,
} from './options.ts';
import { Outbox } from './outbox.ts';
import { Peering, READS } from './peering.ts';
import { StreamDrop } from './reasons.ts';

export type { StreamNotice, StreamTunnelOptions } from './options.ts';

const { EAGAIN } = constants.errno;

export class StreamTunnel implements App {
  readonly inputs = ['inside'];
  readonly outputs = ['inside'];
  readonly required = ['inside'];
  readonly paths = { inside: [] };
  readonly superframes = true;
  readonly layers: Readonly<Record<string, Layer>>;
  readonly #layer: 2 | 3;
  readonly #sockets: () => StreamSockets;
  #options: CheckedStreamOptions;
  #pool: Pool | undefined;
  #account = 0;
  /** Large slots that serve as buffers. */
  #slots: number[] = [];
  #inboxes: RecordReader[] = [];
  #outbox: Outbox | undefined;
  #peering: Peering | undefined;
  #inside: Link | undefined;
  #recordsIn = 0;
  #bytesOut = 0;

  /** @param sockets the addon's calls, or those of a network in a test */
  constructor(options: CheckedStreamOptions, sockets: () => StreamSockets = native) {
    this.#options = options;
    this.#layer = options.layer === 'L2' ? 2 : 3;
    this.layers = { inside: options.layer };
    this.#sockets = sockets;
  }

  open(context: AppContext): void {
    const options = this.#options;
    const { listen, mtu } = options;
    this.#pool = context.pool;
    this.#account = context.account;
    try {
      const inboxes = listen === undefined ? 1 : 2;
      for (let i = 0; i < inboxes; i++) {
        const [base, size] = this.#newBuffer(context);
        this.#inboxes.push(new RecordReader(this.#layer, mtu, context.pool.slab, base, size));
      }
      const [base, size] = this.#newBuffer(context);
      const outbox = new Outbox(context.pool, mtu, base, size);
      this.#outbox = outbox;
      this.#peering = new Peering(context, this.#sockets(), options, this.#inboxes, () => outbox.clear());
      this.#peering.open(context.runtime.now());
    } catch (error) {
      this.close();
      const what = listen === undefined ? 'peer' : 'port';
      throw systemError(error, `the TCP ${what} ${formatEndpoint(endpointOf(options))}`);
    }
  }

  /** A span of the slab for this app alone: a copy within one array is a single memmove. */
  #newBuffer({ pool, account }: AppContext): [base: number, size: number] {
    const slot = pool.allocLarge(account);
    if (slot < 0) throw new TunconnectorError('ERR_LIMIT', 'no large packet slot is left for a TCP buffer');
    this.#slots.push(slot);
    return [pool.offset[slot], LARGE_SLOT - HEADROOM];
  }

  // ── 1. from TCP to the inside

  pull({ output, now }: Ports, room: number): boolean {
    const peering = this.#peering!;
    peering.again = false;
    if (peering.newcomer) peering.hear(peering.newcomer);
    const more = peering.peer !== undefined && this.#receive(peering.peer, output.inside, room, now);
    return more || peering.again;
  }

  #receive(peer: Connection, out: Link, room: number, now: number): boolean {
    const pool = this.#pool!;
    const peering = this.#peering!;
    const { inbox, watch } = peer;
    let reads = 0;
    for (let left = room; left > 0; ) {
      const found = inbox.next();
      if (found === Found.Packet) {
        const { at, length } = inbox;
        const packet = pool.allocFor(length, this.#account);
        // It stays in the buffer, and TCP makes its sender wait, until some packet downstream is freed.
        if (packet < 0) return true;
        pool.slab.copyWithin(pool.offset[packet], at, at + length);
        inbox.pass();
        this.#recordsIn++;
        pool.length[packet] = length;
        pool.arrived[pool.slot[packet]] = now;
        const problem = decapsulateRaw(pool, packet, this.#layer);
        if (problem !== 0) pool.drop(packet, problem);
        else {
          out.put(packet);
          left--;
        }
        continue;
      }
      if (found !== Found.More) {
        pool.countDrops(inbox.reason, 1);
        if (found === Found.Bad) continue;
        peering.counts.outOfStep++;
        peering.lose(OUT_OF_STEP, now);
        return true;
      }
      if (!watch.readable) return false;
      if (reads++ === READS) {
        peering.again = true;
        return true;
      }
      const n = peering.read(peer);
      if (n === -EAGAIN) return false;
      if (n <= 0) {
        peering.lose(n === 0 ? CLOSED : endingOf(-n), now);
        return true;
      }
    }
    return true;
  }

  // ── 2. from the inside to TCP

  push({ input, output, now }: Ports): void {
    const peering = this.#peering!;
    this.#inside = output.inside;
    peering.tend(now);
    const link = input.inside;
    const outbox = this.#outbox!;
    const { writer } = outbox;
    for (;;) {
      const peer = peering.peer;
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
      if (n < 0 && n !== -EAGAIN) peering.lose(endingOf(-n), now);
      else if (!writer.empty) peer.watch.awaitWritable();
    }
  }

  nextDeadline(): number {
    const peering = this.#peering!;
    // Where there is no room, the network comes back by itself when there is.
    return peering.again && (this.#inside?.room ?? 0) > 0 ? 0 : peering.deadline;
  }

  held(): number {
    return this.#outbox?.held ?? 0;
  }

  // ── changes, reports, the end

  canReconfigure(options: unknown): boolean {
    const { layer, listen, connect, netns } = options as CheckedStreamOptions;
    const current = this.#options;
    if (layer !== current.layer || listen !== current.listen || netns !== current.netns) return false;
    return (connect === undefined) === (current.connect === undefined);
  }

  reconfigure(options: unknown): void {
    this.#options = options as CheckedStreamOptions;
    this.#outbox!.longest = this.#options.mtu;
    for (const inbox of this.#inboxes) inbox.longest = this.#options.mtu;
    this.#peering!.reconfigure(this.#options);
  }

  report(): AppReport {
    const peering = this.#peering;
    return {
      connected: peering?.peer !== undefined,
      outer: peering?.peer?.outer ?? '',
      localPort: peering?.localPort ?? 0,
      ...peering?.counts,
      recordsIn: this.#recordsIn,
      recordsOut: this.#outbox?.records ?? 0,
      bytesOut: this.#bytesOut,
    };
  }

  close(): void {
    this.#outbox?.clear();
    this.#peering?.close();
    for (const slot of this.#slots) this.#pool!.free(slot);
    this.#slots = [];
  }
}

export const streamTunnel = defineApp<StreamTunnelOptions, CheckedStreamOptions>({
  module: import.meta.url,
  export: 'streamTunnel',
  check: checkStreamOptions,
  create: (options) => new StreamTunnel(options),
});
