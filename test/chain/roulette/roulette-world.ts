/** A Roulette on the embedded store in virtual time, and what people do with it. */
import type {
  EmbeddedStore,
  EmbeddedStoreOptions,
} from '../../../src/chain/roulette/embedded/embedded-store.ts';
import type { Candidate } from '../../../src/chain/roulette/model/view.ts';
import { Roulette, type RouletteOptions } from '../../../src/chain/roulette/roulette.ts';
import type { RegistryStore } from '../../../src/chain/roulette/store.ts';
import type { LogRecord } from '../../../src/chain/roulette/upkeep.ts';
import { hashName } from '../../../src/engine/random.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import type { TunconnectorError } from '../../../src/errors.ts';
import { openNow, passUntil } from './embedded-world.ts';

export const TENANT = 42;

/** Rendezvous hashing, without weights. */
export function choose(flow: string, candidates: readonly Candidate[]): number | undefined {
  let best: number | undefined;
  let most = -1;
  for (const { id } of candidates) {
    const weight = hashName(`${flow}/${id}`, 0);
    if (weight > most) [best, most] = [id, weight];
  }
  return best;
}

export const flowId = (n: number): string => n.toString(16).padStart(16, '0');
export const proposal = (n: number, more: object = {}) => ({
  id: flowId(n),
  key: `flow ${n}`,
  spi: 7,
  ...more,
});

// biome-ignore lint/suspicious/noExplicitAny: answers are JSON
type Answer = any;

export class World {
  readonly runtime: VirtualRuntime;
  readonly log: LogRecord[] = [];
  /** Replicas that do not answer. */
  readonly dead = new Set<number>();
  store!: EmbeddedStore;
  roulette!: Roulette;
  readonly #options: Partial<RouletteOptions>;

  constructor(options: Partial<RouletteOptions> = {}, runtime = new VirtualRuntime({ seed: 11 })) {
    this.runtime = runtime;
    this.#options = options;
    this.start();
  }

  /** Also after a crash: on the store that is left. */
  start(storeOptions: EmbeddedStoreOptions = {}): void {
    this.store = openNow(this.runtime, storeOptions);
    this.roulette = this.another(this.store);
    passUntil(this.runtime, () => this.roulette.isReady);
  }

  /** One more Roulette. */
  another(store: RegistryStore): Roulette {
    return new Roulette(this.runtime, store, {
      choose,
      probe: (_tenant, { id }, done) => {
        this.runtime.timer(this.runtime.now() + 10 * MILLISECOND, () => done(!this.dead.has(id)));
      },
      log: (record) => this.log.push(record),
      ...this.#options,
    });
  }

  /** Sends a request; the answer comes when time passes. */
  send(name: string, body: object, tenant = TENANT): { answer?: Answer; error?: TunconnectorError } {
    const outcome: { answer?: Answer; error?: TunconnectorError } = {};
    this.roulette.request(tenant, name, body, (error, answer) => {
      outcome.error = error;
      outcome.answer = answer;
    });
    return outcome;
  }

  /** The answer; throws the error. */
  ask(name: string, body: object = {}, tenant = TENANT): Answer {
    const outcome = this.send(name, body, tenant);
    passUntil(this.runtime, () => 'error' in outcome);
    if (outcome.error) throw outcome.error;
    return outcome.answer;
  }

  /** A tenant with functions and a ready replica for every id. */
  set(functions: Record<string, readonly number[]>, tenant = TENANT): string {
    this.ask('tenant.put', {}, tenant);
    const { lease } = this.ask('lease.grant', { term: '1h' }, tenant);
    for (const [name, ids] of Object.entries(functions)) {
      if (name !== 'egress') this.ask('function.put', { name }, tenant);
      for (const id of ids) this.replica(name, id, { lease }, tenant);
    }
    return lease;
  }

  replica(name: string, id: number, more: object, tenant = TENANT): Answer {
    const body = { id, function: name, address: '127.0.0.1', port: 10_000 + id, ...more };
    return this.ask('replica.put', body, tenant);
  }

  /** Registers flows `from` to `to`, and gives what was answered. */
  register(from: number, to: number, more: object = {}): Answer[] {
    const answers: Answer[] = [];
    for (let n = from; n <= to; n += 64) {
      const flows = [];
      for (let i = n; i < n + 64 && i <= to; i++) flows.push(proposal(i, more));
      answers.push(...this.ask('flows.register', { flows }).flows);
    }
    return answers;
  }

  flow(n: number) {
    return this.roulette.view(TENANT).get('flow', flowId(n))?.value;
  }

  /** All flows as they are. */
  flows() {
    return new Map([...this.roulette.view(TENANT).all('flow')].map(([id, { value }]) => [id, value]));
  }
}
