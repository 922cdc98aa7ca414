/** Echo requests, one after each interval, whatever comes back. */
import type { SimHost } from '../network/host.ts';
import type { PingFlowSettings } from '../topology/flow-settings.ts';
import { type Flow, TimedFlow } from './flow.ts';

export class PingFlow extends TimedFlow implements Flow {
  readonly settings: PingFlowSettings;

  constructor(settings: PingFlowSettings, now: () => number) {
    super(now);
    this.settings = settings;
  }

  /** Stacks answer by themselves. */
  receive(): void {}

  send(host: SimHost): void {
    this.when(host, this.settings.at, () => this.#begin(host));
  }

  #begin({ stack, runtime }: SimHost): void {
    const { address, every, size } = this.settings;
    const end = runtime.now() + (this.settings.for ?? Number.POSITIVE_INFINITY);
    const step = () => {
      this.sentPackets++;
      this.sentBytes += size;
      stack.ping(address, { size }).then(
        ({ result, time }) => {
          if (result !== 'reply') return;
          this.arrivedAfter(time, size);
        },
        (error: Error) => void (this.error ??= error.message),
      );
      if (runtime.now() + every < end) runtime.timer(runtime.now() + every, step);
      else this.ended = true;
    };
    step();
  }
}
