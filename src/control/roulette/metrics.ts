/** What Roulette has and did, for Prometheus: as of the moment in which it is asked. */
import { Counter, type CounterConfiguration, Gauge, Registry } from 'prom-client';
import type { Replica } from '../../chain/roulette/model/model.ts';
import type { TenantView } from '../../chain/roulette/model/view.ts';
import type { Roulette } from '../../chain/roulette/roulette.ts';
import type { Watchers } from './watchers.ts';

/** Counted first: labels cost far more than a look-up, and there may be thousands of replicas. */
function replicasByFunction(view: TenantView): Map<string, Map<Replica['state'] | 'stale', number>> {
  const counts = new Map<string, Map<Replica['state'] | 'stale', number>>();
  for (const { name, value } of view.all('replica').values()) {
    const state = view.isStale(Number(name)) ? 'stale' : value.state;
    let states = counts.get(value.function);
    if (!states) counts.set(value.function, (states = new Map()));
    states.set(state, (states.get(state) ?? 0) + 1);
  }
  return counts;
}

type Labels = Record<string, string>;

export class Metrics {
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #roulette: Roulette;
  readonly #watchers: Watchers;
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  /** By request and outcome. */
  readonly #requests = new Map<string, { labels: Labels; count: number }>();

  constructor(roulette: Roulette, watchers: Watchers) {
    this.#roulette = roulette;
    this.#watchers = watchers;
    this.contentType = this.#registry.contentType;
    this.#gauge('ready', '1 when the store has been read', []);
    this.#gauge('revision', 'the revision of the registry', []);
    this.#gauge('watchers', 'watchers that are connected', []);
    this.#gauge('tenants', 'tenants', []);
    this.#gauge('chains', 'chains, also those that have ended', ['tenant']);
    this.#gauge('replicas', 'replicas, by function and state', ['tenant', 'function', 'state']);
    this.#gauge('leases', 'leases that hold', ['tenant']);
    this.#gauge('flows', 'flows that are registered', ['tenant']);
    this.#gauge('suspects', 'replicas that are being asked whether they are there', ['tenant']);
    this.#counter('requests_total', 'requests, by name and outcome', ['request', 'outcome']);
    this.#counter('late_watchers_total', 'watchers that were disconnected because they were too slow', []);
    this.#counter('flows_moved_total', 'flows whose replica went and that got another one', []);
    this.#counter('flows_expired_total', 'flows that were forgotten', []);
    this.#counter('probes_total', 'suspected replicas that were asked', []);
    this.#counter('stalls_total', 'times that this program stood still', []);
    this.#counter('overtaken_total', 'plans that another change came before', []);
  }

  answered(request: string, outcome: string): void {
    const key = `${request} ${outcome}`;
    const known = this.#requests.get(key);
    if (known) known.count++;
    else this.#requests.set(key, { labels: { request, outcome }, count: 1 });
  }

  text(): Promise<string> {
    this.#registry.resetMetrics();
    const { isReady, rev, counters } = this.#roulette;
    this.#set('ready', {}, isReady ? 1 : 0);
    this.#set('revision', {}, rev);
    this.#set('watchers', {}, this.#watchers.size);
    this.#set('late_watchers_total', {}, this.#watchers.late);
    this.#set('flows_moved_total', {}, counters.moved);
    this.#set('flows_expired_total', {}, counters.expired);
    this.#set('probes_total', {}, counters.probes);
    this.#set('stalls_total', {}, counters.stalls);
    this.#set('overtaken_total', {}, counters.overtaken);
    for (const { labels, count } of this.#requests.values()) this.#set('requests_total', labels, count);
    const tenants = this.#roulette.tenants();
    this.#set('tenants', {}, tenants.length);
    for (const tenant of tenants) this.#tenant(tenant);
    return this.#registry.metrics();
  }

  #tenant(id: number): void {
    const view = this.#roulette.view(id);
    const tenant = String(id);
    this.#set('chains', { tenant }, view.all('chain').size);
    this.#set('leases', { tenant }, view.all('lease').size);
    this.#set('flows', { tenant }, view.all('flow').size);
    this.#set('suspects', { tenant }, view.all('suspect').size);
    for (const [of, states] of replicasByFunction(view))
      for (const [state, count] of states) this.#set('replicas', { tenant, function: of, state }, count);
  }

  #counter(name: string, help: string, labelNames: string[]): void {
    this.#counters.set(name, new Counter(this.#named(name, help, labelNames)));
  }

  #gauge(name: string, help: string, labelNames: string[]): void {
    this.#gauges.set(name, new Gauge(this.#named(name, help, labelNames)));
  }

  #named(name: string, help: string, labelNames: string[]): CounterConfiguration<string> {
    return { name: `tunconnector_roulette_${name}`, help, labelNames, registers: [this.#registry] };
  }

  /** After a reset; adds up what has the same labels. */
  #set(name: string, labels: Labels, value: number): void {
    this.#counters.get(name)?.inc(labels, value);
    this.#gauges.get(name)?.inc(labels, value);
  }
}
