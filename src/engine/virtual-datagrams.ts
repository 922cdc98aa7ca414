/** A datagram socket in virtual time. */
import { TunconnectorError } from '../errors.ts';
import { isUnspecified } from '../packet/address.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../packet/prefix.ts';
import { type DatagramHandlers, type DatagramSocket, maxDatagram } from './outside.ts';

/** The network that it is in. */
interface Carrier {
  after(wait: number, callback: () => void): void;
  /** Sends one datagram on its way. `onLeft` is called when it is no longer under way, arrived or not. */
  carry(socket: VirtualDatagrams, from: Endpoint, to: Endpoint, bytes: Uint8Array, onLeft: () => void): void;
}

export class VirtualDatagrams implements DatagramSocket {
  readonly address: string;
  readonly counters = { sent: 0, received: 0, dropped: 0, failed: 0 };
  readonly #carrier: Carrier;
  readonly #bound: Endpoint;
  readonly #handlers: DatagramHandlers;
  readonly #queueLimit: number;
  readonly #onClose: () => void;
  #closed = false;
  /** Bytes on their way. */
  #queued = 0;
  #lastAt = 0;

  constructor(
    carrier: Carrier,
    bound: Endpoint,
    handlers: DatagramHandlers,
    queueLimit: number,
    onClose: () => void,
  ) {
    this.#carrier = carrier;
    this.#bound = bound;
    this.address = formatEndpoint(bound);
    this.#handlers = handlers;
    this.#queueLimit = queueLimit;
    this.#onClose = onClose;
  }

  send(to: string, bytes: Uint8Array): void {
    const endpoint = parseEndpoint(to);
    if (this.#closed) return;
    const why = this.#objection(endpoint, bytes.length);
    if (why) {
      this.counters.failed++;
      const error = new TunconnectorError('ERR_SOCKET', `nothing can be sent to ${to}: ${why}`);
      this.#carrier.after(0, () => {
        if (!this.#closed) this.#handlers.onError?.(error);
      });
      return;
    }
    if (this.#queued + bytes.length > this.#queueLimit) {
      this.counters.dropped++;
      return;
    }
    this.#queued += bytes.length;
    this.counters.sent++;
    const { port } = this.#bound;
    const from = isUnspecified(this.#bound.address) ? { address: endpoint.address, port } : this.#bound;
    this.#carrier.carry(this, from, endpoint, bytes.slice(), () => {
      this.#queued -= bytes.length;
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
  }

  /** When what is due at `at` arrives: not before what was sent earlier. */
  schedule(at: number): number {
    this.#lastAt = Math.max(this.#lastAt, at);
    return this.#lastAt;
  }

  receive(from: string, bytes: Uint8Array): void {
    this.counters.received++;
    this.#handlers.onMessage(from, bytes);
  }

  #objection(to: Endpoint, length: number): string | undefined {
    const { address } = this.#bound;
    if (address.family === 4 && to.address.family === 6) return 'the socket is one of IPv4';
    if (address.family === 6 && to.address.family === 4 && !isUnspecified(address)) {
      return 'the socket is one of IPv6';
    }
    if (to.port === 0) return 'it has no port';
    return length > maxDatagram(to.address.family) ? `${length} bytes are too many` : undefined;
  }
}
