/**
 * A port whose outside is the program itself: what is sent here enters the network, what leaves is kept for whoever
 * asks. For tests, for embedding, and for virtual time; needs no root and no native code.
 */
import type { App, AppContext, AppReport, Layer, Ports } from '../engine/app.ts';
import { Reason } from '../engine/reasons.ts';

export interface MemoryPortOptions {
  /** What its packets are (default `L3`). */
  layer?: Layer;
  /** Packets it keeps for the reader, and packets that may wait to enter (default 65536). More are counted drops. */
  limit?: number;
  /** Called with each packet that leaves, instead of keeping it. */
  onPacket?: (bytes: Uint8Array, time: number) => void;
}

export interface ReceivedPacket {
  bytes: Uint8Array;
  /** When it left the network: ns since the runtime's start. */
  time: number;
}

const LAYER_NUMBER: Record<Layer, number> = { L2: 2, L3: 3, datagram: 0 };

export class MemoryPort implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly paths = { in: [] };
  readonly layers: Record<string, Layer>;
  /** What has left the network through this port, oldest first. */
  readonly received: ReceivedPacket[] = [];
  /** Packets that found the queue or the memory exhausted on their way in, or the keeper's limit on their way out. */
  dropped = 0;
  readonly #layer: number;
  readonly #limit: number;
  readonly #onPacket: ((bytes: Uint8Array, time: number) => void) | undefined;
  #waiting: Uint8Array[] = [];
  #context: AppContext | undefined;

  constructor(options: MemoryPortOptions = {}) {
    const layer = options.layer ?? 'L3';
    this.layers = { in: layer, out: layer };
    this.#layer = LAYER_NUMBER[layer];
    this.#limit = options.limit ?? 65536;
    this.#onPacket = options.onPacket;
  }

  /** Lets a packet enter the network. Returns false, and counts it, when too many wait already. */
  send(bytes: Uint8Array): boolean {
    if (this.#waiting.length >= this.#limit) {
      this.dropped++;
      return false;
    }
    this.#waiting.push(bytes);
    this.#context?.wake();
    return true;
  }

  open(context: AppContext): void {
    this.#context = context;
  }

  pull({ pool, output, now }: Ports, room: number): boolean {
    const n = Math.min(room, this.#waiting.length);
    let i = 0;
    for (; i < n; i++) {
      const packet = pool.copyIn(this.#waiting[i], this.#layer, this.#context!.account);
      if (packet < 0) {
        if (this.#waiting[i].length <= 65536) break;
        pool.countDrops(Reason.TooLong, 1);
        continue;
      }
      pool.arrived[pool.slot[packet]] = now;
      output.out.put(packet);
    }
    this.#waiting.splice(0, i);
    return this.#waiting.length > 0;
  }

  push({ pool, input, now }: Ports): void {
    for (let n = input.in.count; n > 0; n--) {
      const packet = input.in.take();
      const bytes = pool.copyOut(packet);
      pool.free(packet);
      if (this.#onPacket) this.#onPacket(bytes, now);
      else if (this.received.length < this.#limit) this.received.push({ bytes, time: now });
      else this.dropped++;
    }
  }

  report(): AppReport {
    return { waiting: this.#waiting.length, received: this.received.length, dropped: this.dropped };
  }

  close(): void {
    this.#waiting = [];
  }
}
