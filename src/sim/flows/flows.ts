/** All flows of a simulation: which host does what when it starts. */
import type { SimHost } from '../network/host.ts';
import type { FlowSettings } from '../topology/flow-settings.ts';
import type { Flow, FlowFigures } from './flow.ts';
import { PingFlow } from './ping.ts';
import { TcpFlow } from './tcp.ts';
import { UdpFlow } from './udp.ts';

export class Flows {
  readonly #flows: Flow[];
  readonly #byHost = new Map<string, ((host: SimHost) => void)[]>();
  /** Hosts whose flows wait for promises. */
  readonly #promising = new Set<string>();

  /** @param now world time, ns */
  constructor(settings: readonly FlowSettings[], now: () => number) {
    this.#flows = settings.map((each) => {
      if (each.kind === 'tcp') return new TcpFlow(each, now);
      return each.kind === 'udp' ? new UdpFlow(each, now) : new PingFlow(each, now);
    });
    for (const flow of this.#flows) {
      const { kind, from, to } = flow.settings;
      this.#at(to).push((host) => flow.receive(host));
      this.#at(from).push((host) => flow.send(host));
      if (kind === 'ping') this.#promising.add(from);
    }
  }

  #at(host: string): ((host: SimHost) => void)[] {
    const known = this.#byHost.get(host) ?? [];
    this.#byHost.set(host, known);
    return known;
  }

  promises(host: string): boolean {
    return this.#promising.has(host);
  }

  /** The host has started: its ends of flows do, too. */
  started(host: SimHost): void {
    for (const start of this.#byHost.get(host.name) ?? []) start(host);
  }

  figures(): FlowFigures[] {
    return this.#flows.map((flow) => flow.figures());
  }
}
