/** The way to Roulette of simulated hosts, with what tests want to know of it. */
import type { Runtime } from '../../../src/engine/runtime.ts';
import { TunconnectorError } from '../../../src/errors.ts';
import { RegistryChannels } from '../../../src/sim/chain/connection.ts';
import { TENANT } from '../roulette/roulette-world.ts';

type Done = Parameters<RegistryChannels['request']>[2];

export class ChannelConnection extends RegistryChannels {
  /** Every request, in order. */
  readonly sent: { name: string; body: unknown }[] = [];
  /** Answers that are thrown away: of requests of this name, until it is taken back. */
  deaf: string | undefined;

  /** @param bind where its channels come from */
  constructor(runtime: Runtime, bind: string, to: readonly string[]) {
    const own: ConstructorParameters<typeof RegistryChannels>[0] = {
      now: () => runtime.now(),
      timer: (at, callback) => runtime.timer(at, callback),
      connect: (peer, handlers, options) => runtime.connect(peer, handlers, { ...options, bind }),
    };
    super(own, TENANT, to);
  }

  override request(name: string, body: unknown, done: Done): void {
    this.sent.push({ name, body: structuredClone(body) });
    super.request(name, body, (error, answer) => {
      if (this.deaf === name && !error)
        done(new TunconnectorError('ERR_UNREACHABLE', 'its answer is not heard'));
      else done(error, answer);
    });
  }
}
