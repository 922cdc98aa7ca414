/** Who listens where. */
import { TunconnectorError } from '../../errors.ts';
import type { TcpListener } from './listener.ts';
import { addressIn } from './row.ts';

export class Listeners {
  readonly #byPort = new Map<number, TcpListener[]>();

  get count(): number {
    let count = 0;
    for (const each of this.#byPort.values()) count += each.length;
    return count;
  }

  has(port: number): boolean {
    return this.#byPort.has(port);
  }

  /** @throws ERR_PORT_IN_USE when somebody has the port at this address, or at any */
  checkFree(local: Uint8Array | undefined, port: number): void {
    const there = this.#byPort.get(port) ?? [];
    if (there.some((other) => other.local === undefined || local === undefined || same(other.local, local)))
      throw new TunconnectorError('ERR_PORT_IN_USE', `somebody listens on port ${port} already`);
  }

  add(listener: TcpListener): void {
    this.#byPort.set(listener.port, [...(this.#byPort.get(listener.port) ?? []), listener]);
  }

  remove(listener: TcpListener): void {
    const left = this.#byPort.get(listener.port)!.filter((other) => other !== listener);
    if (left.length > 0) this.#byPort.set(listener.port, left);
    else this.#byPort.delete(listener.port);
  }

  /** Whom a segment with this key is for when it has no connection. */
  find(key: Int32Array): TcpListener | undefined {
    const there = this.#byPort.get(key[8] >>> 16);
    if (there === undefined) return undefined;
    for (const listener of there) {
      if (listener.local === undefined || same(listener.local, addressIn(key, 0))) return listener;
    }
    return undefined;
  }

  all(): TcpListener[] {
    return [...this.#byPort.values()].flat();
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
