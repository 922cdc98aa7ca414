/** UDP at a constant rate. Each datagram tells when it was sent, so that the receiver knows how long it took. */
import { TunconnectorError } from '../../errors.ts';
import type { SimHost } from '../network/host.ts';
import type { UdpFlowSettings } from '../topology/flow-settings.ts';
import { type Flow, TimedFlow } from './flow.ts';

export class UdpFlow extends TimedFlow implements Flow {
  readonly settings: UdpFlowSettings;
  readonly #payload: DataView<ArrayBuffer>;

  constructor(settings: UdpFlowSettings, now: () => number) {
    super(now);
    this.settings = settings;
    this.#payload = new DataView(new ArrayBuffer(settings.size));
  }

  receive({ stack }: SimHost): void {
    stack.udp({
      port: this.settings.port,
      onMessage: (bytes) => {
        if (bytes.length !== this.settings.size) return;
        const took = this.now() - new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0);
        this.arrivedAfter(took, bytes.length);
      },
    });
  }

  send(host: SimHost): void {
    this.when(host, this.settings.at, () => this.#begin(host));
  }

  #begin({ stack, runtime }: SimHost): void {
    const { address, port, rate, size } = this.settings;
    // Who does not listen is no reason to end.
    const socket = stack.udp({ remote: { address, port }, onError: () => {} });
    const bytes = new Uint8Array(this.#payload.buffer);
    const first = runtime.now();
    const end = first + (this.settings.for ?? Number.POSITIVE_INFINITY);
    let n = 0;
    const step = () => {
      this.#payload.setFloat64(0, this.now());
      this.#payload.setUint32(8, n);
      try {
        socket.send(bytes);
      } catch (error) {
        if (!(error instanceof TunconnectorError)) throw error;
        this.error = error.message;
        return;
      }
      n++;
      this.sentPackets++;
      this.sentBytes += size;
      // From the first one: what is rounded does not add up.
      const next = first + Math.round((n * size * 8e9) / rate);
      if (next < end) runtime.timer(next, step);
      else this.ended = true;
    };
    step();
  }
}
