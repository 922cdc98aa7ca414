/** A tenant as the page knows it: what Roulette has, what passes, and what is said of both. */
import type {
  ChainDocument,
  ClassifierDocument,
  FeedMessage,
  FunctionList,
  RateList,
  RouletteClient,
} from '../../client/roulette.ts';
import type { Connection } from '../shared/connection.ts';
import { Topic } from '../shared/topic.ts';
import { Seen } from './picture.ts';

export interface Known {
  rev: number;
  chains: readonly ChainDocument[];
  functions: FunctionList['functions'];
  classifier: ClassifierDocument;
}

export class Tenant {
  readonly client: RouletteClient;
  readonly connection = new Topic<Connection>('connecting');
  readonly known = new Topic<Known | undefined>(undefined);
  readonly rates = new Topic<RateList | undefined>(undefined);
  readonly replicas = new Seen();
  /** Something to say once, to everybody. */
  readonly news = new Topic('');
  readonly #now: () => number;
  #loading: Promise<void> | undefined;
  /** Something has changed since what is being loaded was asked for. */
  #isOld = false;

  /** @param now ms */
  constructor(client: RouletteClient, now: () => number) {
    this.client = client;
    this.#now = now;
  }

  chain(spi: number): ChainDocument | undefined {
    return this.known.value?.chains.find((each) => each.spi === spi);
  }

  /** A message of the watch: what it says is read as documents. True when there is something to load. */
  receive(message: FeedMessage): boolean {
    return message.t === 'ev' || (message.t === 'snap' && message.last);
  }

  connected(connected: boolean): void {
    const state = connected ? 'live' : 'lost';
    if (this.connection.value === state) return;
    // Rates of before are none of now.
    if (!connected) this.rates.value = undefined;
    this.connection.value = state;
  }

  /** Reads everything but flows; what changes meanwhile is read once more. */
  load(): Promise<void> {
    this.#isOld = true;
    this.#loading ??= this.#loadAll().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #loadAll(): Promise<void> {
    const { client } = this;
    while (this.#isOld) {
      this.#isOld = false;
      const [{ rev, chains }, { replicas }, { functions }, classifier] = await Promise.all([
        client.chains(),
        client.replicas(),
        client.functions(),
        client.classifier(),
      ]);
      this.replicas.update(replicas, this.#now());
      this.known.value = { rev, chains, functions, classifier };
    }
  }

  async loadRates(): Promise<void> {
    const rates = await this.client.rates();
    if (this.connection.value !== 'lost') this.rates.value = rates;
  }

  /** Takes a replica out of service for new flows, or back into it. @throws what Roulette has against it */
  async serve(id: number, state: 'ready' | 'draining'): Promise<void> {
    const replica = this.replicas.get(id);
    if (!replica) return;
    await this.client.setReplicaState(id, state, { ifRev: replica.rev });
    this.news.value = state === 'draining' ? `Replica ${id} gets no new flows.` : `Replica ${id} is ready.`;
    await this.load();
  }
}
