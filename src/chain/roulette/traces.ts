/**
 * Whoever asks for a trace waits here until the ingress that has the flow has answered. Question and answer are in the store, so that the
 * ingress may be connected to another Roulette than the one that was asked.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import type { Commits, Done } from './commits.ts';
import type { TenantId, TracedHop } from './model/model.ts';
import type { News, Registry } from './registry.ts';
import { endTrace, traceFlow } from './requests/traces.ts';

/** ns for an ingress to answer: more than it waits for the hops. */
export const TRACE_PATIENCE = 2500 * MILLISECOND;

/** What is answered about each hop. */
export interface ShownHop extends TracedHop {
  /** Empty for a replica that is not registered any more. */
  function: string;
  address: string;
}

export interface TraceAnswer {
  id: string;
  spi: number;
  /** The ingress that has the flow. */
  ingress: number;
  /** Functions in the order of the packets, then the egress. */
  hops: ShownHop[];
}

interface Waiting {
  tenant: TenantId;
  id: string;
  asked: string;
  done: Done;
  cancel: () => void;
}

export class TraceDesk {
  readonly #clock: Pick<Runtime, 'now' | 'timer'>;
  readonly #commits: Commits;
  readonly #registry: Registry;
  readonly #waiting = new Map<string, Waiting>();

  constructor(clock: Pick<Runtime, 'now' | 'timer'>, commits: Commits, registry: Registry) {
    this.#clock = clock;
    this.#commits = commits;
    this.#registry = registry;
  }

  request(tenant: TenantId, body: { id: string }, done: Done): void {
    const { id } = body;
    this.#commits.commit(
      tenant,
      (context) => traceFlow.plan(body, context),
      (error, answer) => {
        if (error) return done(error);
        const { asked } = answer as { asked: string };
        const cancel = this.#clock.timer(this.#clock.now() + TRACE_PATIENCE, () => this.#late(waiting));
        const waiting: Waiting = { tenant, id, asked, done, cancel };
        this.#waiting.set(`${tenant}/${id}`, waiting);
        this.#look(tenant, id);
      },
    );
  }

  observe(news: readonly News[]): void {
    for (const { tenant, kind, name } of news) if (kind === 'trace') this.#look(tenant, name);
  }

  /** Nobody is answered any more. */
  close(): void {
    for (const { cancel } of this.#waiting.values()) cancel();
    this.#waiting.clear();
  }

  #look(tenant: TenantId, id: string): void {
    const waiting = this.#waiting.get(`${tenant}/${id}`);
    const view = this.#registry.view(tenant);
    const trace = view.get('trace', id)?.value;
    if (!waiting || trace?.asked !== waiting.asked || !trace.found) return;
    const { ingress, hops } = trace.found;
    const shown = hops.map((hop): ShownHop => {
      const { function: name = '', address = '', port = 0 } = view.replica(hop.replica) ?? {};
      const host = address.includes(':') ? `[${address}]` : address;
      return { ...hop, function: name, address: address && `${host}:${port}` };
    });
    const spi = view.get('flow', id)?.value.spi ?? 0;
    this.#finish(waiting);
    waiting.done(undefined, { id, spi, ingress, hops: shown } satisfies TraceAnswer);
  }

  #late(waiting: Waiting): void {
    this.#finish(waiting);
    const message = `no ingress says that it has the flow ${waiting.id}`;
    const remedy = 'its packets may have ended; see whether its ingress is connected to Roulette';
    waiting.done(new TunconnectorError('ERR_NOT_FOUND', message, { remedy }));
  }

  #finish({ tenant, id, asked, cancel }: Waiting): void {
    cancel();
    this.#waiting.delete(`${tenant}/${id}`);
    // If that cannot be written, the upkeep does it later.
    this.#commits.commit(
      tenant,
      (context) => endTrace(context, id, asked),
      () => {},
    );
  }
}
