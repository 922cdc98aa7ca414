/** Asks suspected replicas whether they are there: probes over UDP, as `docs/chain/wire.md` has them. */
import type { DatagramSocket } from '../../engine/outside.ts';
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { formatEndpoint, parseEndpoint } from '../../packet/prefix.ts';
import { emitProbe, PROBE_LENGTH } from '../wire/prefix.ts';
import type { TenantId } from './model/model.ts';
import type { Candidate } from './model/view.ts';

/** ns between probes, and how many have no answer before a replica is taken for dead. */
const PERIOD = 100 * MILLISECOND;
const MOST = 3;
/** Replicas that are asked at a time; a further one waits until one of them is known. */
const ASKED = 1024;

export class Prober {
  readonly #runtime: Pick<Runtime, 'now' | 'timer' | 'datagrams'>;
  /** One for IPv4, one for IPv6, made when they are needed. */
  readonly #sockets = new Map<'4' | '6', DatagramSocket>();
  /** Who waits for an answer, by the address it comes from. */
  readonly #asked = new Map<string, Set<() => void>>();
  readonly #cancels = new Set<() => void>();
  readonly #waiting: (() => void)[] = [];
  #count = 0;
  #closed = false;

  constructor(runtime: Pick<Runtime, 'now' | 'timer' | 'datagrams'>) {
    this.#runtime = runtime;
  }

  /** Calls back once and not from within; not after `close()`. */
  readonly probe = (tenant: TenantId, replica: Candidate, done: (alive: boolean) => void): void => {
    if (this.#count < ASKED) this.#ask(tenant, replica, done);
    else this.#waiting.push(() => this.#ask(tenant, replica, done));
  };

  close(): void {
    this.#closed = true;
    for (const cancel of this.#cancels) cancel();
    for (const socket of this.#sockets.values()) socket.close();
  }

  #ask(tenant: TenantId, { address, port }: Candidate, done: (alive: boolean) => void): void {
    if (this.#closed) return;
    const to = formatEndpoint(
      parseEndpoint(address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`),
    );
    const bytes = new Uint8Array(PROBE_LENGTH);
    // No path: any number does.
    emitProbe({ tenant, servicePath: 1 }, bytes);
    let sent = 0;
    let cancel = () => {};
    this.#count++;
    const settle = (alive: boolean) => {
      cancel();
      this.#cancels.delete(stop);
      const those = this.#asked.get(to);
      those?.delete(answered);
      if (those?.size === 0) this.#asked.delete(to);
      this.#count--;
      done(alive);
      this.#waiting.shift()?.();
    };
    const stop = () => cancel();
    const answered = () => settle(true);
    const step = () => {
      if (sent === MOST) {
        settle(false);
        return;
      }
      sent++;
      this.#socket(address.includes(':') ? '6' : '4').send(to, bytes);
      cancel = this.#runtime.timer(this.#runtime.now() + PERIOD, step);
    };
    const those = this.#asked.get(to) ?? new Set();
    this.#asked.set(to, those.add(answered));
    this.#cancels.add(stop);
    step();
  }

  #socket(family: '4' | '6'): DatagramSocket {
    let socket = this.#sockets.get(family);
    if (!socket) {
      const onMessage = (from: string) => {
        for (const answered of [...(this.#asked.get(from) ?? [])]) answered();
      };
      socket = this.#runtime.datagrams(family === '4' ? '0.0.0.0:0' : '[::]:0', { onMessage });
      this.#sockets.set(family, socket);
    }
    return socket;
  }
}
