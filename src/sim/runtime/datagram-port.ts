/** A UDP socket of the runtime as an app: what tunnels and chains have for an outside in a simulated host, in place of a real one's port. */
import type { App, AppContext, AppReport, Layer, Ports } from '../../engine/app.ts';
import type { DatagramSocket } from '../../engine/outside.ts';
import { parseEndpoint } from '../../packet/prefix.ts';

/** Datagrams that wait to be taken in; further ones are counted and dropped. */
const MOST = 1024;

export class DatagramPort implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly paths = { in: [] };
  readonly layers: Readonly<Record<string, Layer>> = { in: 'datagram', out: 'datagram' };
  readonly #bind: string;
  readonly #waiting: { from: string; bytes: Uint8Array }[] = [];
  #refused = 0;
  /** Datagrams that came back from where nobody listens. */
  #refusals = 0;
  #context: AppContext | undefined;
  #socket: DatagramSocket | undefined;

  /** @param bind `0.0.0.0:55555` */
  constructor(bind: string) {
    this.#bind = bind;
  }

  /** @throws ERR_PORT_IN_USE, ERR_ADDRESS */
  open(context: AppContext): void {
    this.#context = context;
    this.#socket = context.runtime.datagrams(this.#bind, {
      onMessage: (from, bytes) => {
        if (this.#waiting.length === MOST) this.#refused++;
        else this.#waiting.push({ from, bytes });
        context.wake();
      },
      onRefused: (to) => {
        this.#refusals++;
        const { address, port } = parseEndpoint(to);
        context.pool.addresses.countRefused({ ...address, port, scope: 0 });
        context.wake();
      },
    });
  }

  pull({ pool, output }: Ports, room: number): boolean {
    for (const { from, bytes } of this.#waiting.splice(0, room)) {
      const packet = pool.copyIn(bytes, 0, this.#context!.account);
      if (packet < 0) {
        this.#refused++;
        continue;
      }
      const { address, port } = parseEndpoint(from);
      pool.peer[packet] = pool.addresses.rowFor({ ...address, port, scope: 0 });
      output.out!.put(packet);
    }
    return this.#waiting.length > 0;
  }

  push({ pool, input }: Ports): void {
    for (let n = input.in!.waiting; n > 0; n--) {
      const packet = input.in!.take();
      const at = pool.offset[packet]!;
      const bytes = pool.slab.slice(at - pool.prefixLength[packet]!, at + pool.length[packet]!);
      this.#socket?.send(pool.addresses.describe(pool.peer[packet]!), bytes);
      pool.free(packet);
    }
  }

  held(): number {
    return 0;
  }

  report(): AppReport {
    return {
      waiting: this.#waiting.length,
      refused: this.#refused,
      refusals: this.#refusals,
      ...this.#socket?.counters,
    };
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#waiting.length = 0;
  }
}
