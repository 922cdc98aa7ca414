/** A TCP transfer: the sender writes as much as it can, the receiver reads at once. */
import type { Connection } from '../../stack/index.ts';
import type { SimHost } from '../network/host.ts';
import type { TcpFlowSettings } from '../topology/flow-settings.ts';
import { BaseFlow, type Flow, type FlowFigures } from './flow.ts';

/** What is written, and where it is read to; nobody looks at it. */
const PAYLOAD = new Uint8Array(65_536);
const SINK = new Uint8Array(65_536);

export class TcpFlow extends BaseFlow implements Flow {
  readonly settings: TcpFlowSettings;
  #connection: Connection | undefined;

  constructor(settings: TcpFlowSettings, now: () => number) {
    super(now);
    this.settings = settings;
  }

  receive({ stack }: SimHost): void {
    const { port, receiveBuffer } = this.settings;
    stack.listen({ port, receiveBuffer }, (connection) => ({
      onReadable: () => {
        for (let n = connection.read(SINK); n > 0; n = connection.read(SINK)) this.arrived(n);
      },
      onEnd: () => {
        this.ended = true;
        connection.end();
      },
    }));
  }

  send(host: SimHost): void {
    this.when(host, this.settings.at, () => this.#begin(host));
  }

  #begin({ stack, runtime }: SimHost): void {
    const { address, port, congestion, sendBuffer } = this.settings;
    const left = this.settings.bytes ?? Number.POSITIVE_INFINITY;
    const write = () => {
      while (this.sentBytes < left) {
        const wanted = Math.min(PAYLOAD.length, left - this.sentBytes);
        const taken = connection.write(wanted < PAYLOAD.length ? PAYLOAD.subarray(0, wanted) : PAYLOAD);
        this.sentBytes += taken;
        if (taken < wanted) return;
      }
      connection.end();
    };
    const handlers = {
      onConnected: write,
      onWritable: write,
      onClosed: (error: string | undefined) => void (this.error ??= error),
    };
    const connection = stack.connect({ address, port, congestion, sendBuffer }, handlers);
    this.#connection = connection;
    if (this.settings.for !== undefined)
      runtime.timer(runtime.now() + this.settings.for, () => {
        // What waits in its send buffer would go on for as long again.
        if (!this.error) this.ended = true;
        connection.reset();
      });
  }

  figures(): FlowFigures {
    const base = this.base(this.settings);
    if (!this.#connection) return base;
    const { srtt, minRtt, cwnd, retransmissions, timeouts } = this.#connection.figures();
    const figures = { rtt: srtt, minRtt: Math.max(0, minRtt), maxRtt: 0, cwnd, retransmissions, timeouts };
    return { ...base, ...figures, sentPackets: 0, receivedPackets: 0 };
  }
}
