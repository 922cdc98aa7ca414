/** An ingress that keeps a mirror and places flows, over a runtime's channels. */
import type { Flow } from '../../../src/chain/roulette/model/model.ts';
import type { FlowAnswer } from '../../../src/chain/roulette/requests/flows.ts';
import type { FeedMessage } from '../../../src/chain/roulette/watch/messages.ts';
import { Mirror } from '../../../src/chain/roulette/watch/mirror.ts';
import type { Channel } from '../../../src/engine/outside.ts';
import type { Runtime } from '../../../src/engine/runtime.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { type Answer, decode, encode } from '../../../src/sim/chain/messages.ts';
import { choose, TENANT } from './roulette-world.ts';

/** Where a flow is, as an ingress stamps it. */
export type Stamp = Pick<Flow, 'revision' | 'generation' | 'path'>;

export class Ingress {
  readonly mirror: Mirror;
  /** What it stamps on packets; generation 0 while only it knows. */
  readonly flows = new Map<string, Stamp & { key: string; spi: number }>();
  reconnects = -1;
  readonly #runtime: Runtime;
  readonly #bind: string;
  readonly #to: string;
  #channel: Channel | undefined;
  #asked = 0;
  #waiting: number | undefined;

  constructor(runtime: Runtime, bind: string, to: string) {
    this.#runtime = runtime;
    this.#bind = bind;
    this.#to = to;
    this.mirror = new Mirror(TENANT, runtime.now(), {
      onChange: (kind, name) => {
        if (kind === 'flow') this.#learn(name!);
        if (kind === undefined) for (const id of this.flows.keys()) this.#learn(id);
      },
    });
    this.#connect();
    this.#tick();
  }

  /** The first packet of a flow: it is placed at once, from what is known here. */
  packet(id: string, key: string, spi: number): void {
    const chain = this.mirror.view.chainRevision(spi);
    const known = this.flows.get(id);
    if (!chain || (known && known.revision === chain.revision)) return;
    // Real ingresses choose the same if they know the same. These do not, so that it matters who is first.
    const own = `${id} ${this.#bind}`;
    const path = chain.functions.map((name) => choose(own, this.mirror.view.readyReplicas(name)) ?? 0);
    // One that moves to another revision keeps what it has until it is told.
    if (!known && !path.includes(0)) {
      this.flows.set(id, { key, spi, revision: chain.revision, generation: 0, path });
    }
  }

  #connect(): void {
    this.#channel?.close();
    this.reconnects++;
    this.#waiting = undefined;
    const channel = this.#runtime.connect(
      this.#to,
      {
        onMessage: (bytes) => {
          if (channel !== this.#channel) return;
          const message = decode(bytes) as FeedMessage | Answer;
          if (!('t' in message)) this.#answered(message);
          else if (this.mirror.receive(message, this.#runtime.now()) === 'renew') this.#connect();
        },
        onClose: () => {
          if (channel === this.#channel) this.#channel = undefined;
        },
      },
      { bind: this.#bind, timeout: 300 * MILLISECOND },
    );
    this.#channel = channel;
    channel.send(encode({ ...this.mirror.hello(this.#runtime.now()), tenant: TENANT }));
  }

  #tick(): void {
    this.#runtime.timer(this.#runtime.now() + 50 * MILLISECOND, () => {
      if (!this.#channel || this.mirror.isSilent(this.#runtime.now())) this.#connect();
      this.#register();
      this.#tick();
    });
  }

  /** Behind the packets, one batch at a time. */
  #register(): void {
    if (this.#waiting !== undefined || !this.#channel) return;
    const { view } = this.mirror;
    const due = [...this.flows].filter(
      ([, flow]) => flow.generation === 0 || flow.revision !== view.chainRevision(flow.spi)?.revision,
    );
    if (due.length === 0) return;
    const flows = due
      .slice(0, 64)
      .map(([id, { key, spi, revision, path }]) => ({ id, key, spi, revision, path }));
    this.#waiting = ++this.#asked;
    const asked = { id: this.#waiting, tenant: TENANT, name: 'flows.register', body: { flows } };
    this.#channel.send(encode(asked));
  }

  #answered({ id, answer }: Answer): void {
    if (id !== this.#waiting) return;
    this.#waiting = undefined;
    const { flows = [] } = (answer ?? {}) as { flows?: FlowAnswer[] };
    for (const flow of flows) if (!('error' in flow)) this.#adopt(flow.id, flow);
  }

  #learn(id: string): void {
    const flow = this.mirror.view.get('flow', id)?.value;
    if (flow) this.#adopt(id, flow);
  }

  /** The higher revision wins, then the higher generation: what comes late cannot turn a flow back. */
  #adopt(id: string, { revision, generation, path }: Stamp): void {
    const known = this.flows.get(id);
    if (!known) return;
    const newer = revision > known.revision || (revision === known.revision && generation > known.generation);
    if (newer) this.flows.set(id, { ...known, revision, generation, path });
  }
}
