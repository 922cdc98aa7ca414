/** What one flow did, whatever its kind. */
import type { SimHost } from '../network/host.ts';
import type { FlowSettings } from '../topology/flow-settings.ts';

export interface FlowFigures {
  name: string;
  kind: 'tcp' | 'udp' | 'ping';
  from: string;
  to: string;
  /** `waiting`, `running`, `done`, or what ended it: `failed: ECONNRESET`. */
  state: string;
  /** Bytes of payload that the sender's program wrote, and that the receiver's has. */
  sentBytes: number;
  receivedBytes: number;
  /** Datagrams or echo requests, and those that arrived or were answered; 0 with TCP. */
  sentPackets: number;
  receivedPackets: number;
  /** bit/s, from its begin to the last byte that arrived. */
  goodput: number;
  /** ns: TCP's smoothed round trip, the mean of the answers to echo requests, or the mean way of datagrams there; 0: none was measured. */
  rtt: number;
  minRtt: number;
  maxRtt: number;
  /** Bytes; 0 but with TCP. */
  cwnd: number;
  retransmissions: number;
  timeouts: number;
}

export interface Flow {
  readonly settings: FlowSettings;
  /** Its receiver's host has started, or started anew. */
  receive(host: SimHost): void;
  /** Its sender's host has. */
  send(host: SimHost): void;
  figures(): FlowFigures;
}

/** What the kinds have in common: when it began and what arrived. */
export abstract class BaseFlow {
  /** World time: ns; -1: not yet. */
  protected began = -1;
  protected last = -1;
  protected ended = false;
  protected error: string | undefined;
  protected sentBytes = 0;
  protected receivedBytes = 0;
  protected sentPackets = 0;
  protected receivedPackets = 0;
  protected readonly now: () => number;

  /** @param now world time, ns */
  constructor(now: () => number) {
    this.now = now;
  }

  /** Calls `begin` when the flow is to begin, by the clock of its host. One that has begun ends with the host, and does not go on in another life. */
  protected when(host: SimHost, at: number, begin: () => void): void {
    if (this.began >= 0) return;
    host.runtime.timer(host.runtime.now() + Math.max(0, at - this.now()), () => {
      this.began = this.now();
      host.onStop(async () => {
        if (!this.ended) this.error ??= 'host crashed';
      });
      begin();
    });
  }

  protected arrived(bytes: number): void {
    this.receivedBytes += bytes;
    this.receivedPackets++;
    this.last = this.now();
  }

  protected base({ name, kind, from, to }: FlowSettings): FlowFigures {
    const { sentBytes, receivedBytes, sentPackets, receivedPackets } = this;
    const span = this.last - this.began;
    const going = this.began < 0 ? 'waiting' : this.ended ? 'done' : 'running';
    return {
      ...{ name, kind, from, to, sentBytes, receivedBytes, sentPackets, receivedPackets },
      state: this.error ? `failed: ${this.error}` : going,
      goodput: span > 0 ? (receivedBytes * 8e9) / span : 0,
      ...{ rtt: 0, minRtt: 0, maxRtt: 0, cwnd: 0, retransmissions: 0, timeouts: 0 },
    };
  }
}

/** Of packets whose time is known, each: there, or there and back. */
export abstract class TimedFlow extends BaseFlow {
  abstract readonly settings: FlowSettings;
  #took = 0;
  #least = Number.POSITIVE_INFINITY;
  #most = 0;

  /** @param took ns */
  protected arrivedAfter(took: number, bytes: number): void {
    this.#took += took;
    this.#least = Math.min(this.#least, took);
    this.#most = Math.max(this.#most, took);
    this.arrived(bytes);
  }

  figures(): FlowFigures {
    const base = this.base(this.settings);
    if (this.receivedPackets === 0) return base;
    return { ...base, rtt: this.#took / this.receivedPackets, minRtt: this.#least, maxRtt: this.#most };
  }
}
