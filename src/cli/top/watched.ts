/** The networks that are watched: found by their control sockets, asked again and again, and missed when they end. */

import type { NetworkReport } from '../../engine/report.ts';
import { TunconnectorError } from '../../errors.ts';
import { type ControlClient, connectControl, listNetworks } from '../../tun/control/live-client.ts';
import type { View } from './picture.ts';
import { ratesOf } from './rates.ts';

class Watched {
  readonly #client: ControlClient;
  #now: NetworkReport | undefined;
  #before: NetworkReport | undefined;
  /** Answers so far. */
  answers = 0;
  ended = false;
  #asking: Promise<void> | undefined;
  #asked = 0;

  constructor(client: ControlClient) {
    this.#client = client;
  }

  get name(): string {
    return this.#client.name;
  }

  get view(): View {
    return {
      name: this.name,
      rates: this.#now && ratesOf(this.#now, this.#before),
      silent: this.#asking ? performance.now() - this.#asked : 0,
    };
  }

  /** Settles when it has answered, or ended. One question at a time. */
  ask(): Promise<void> {
    if (this.#asking) return this.#asking;
    this.#asked = performance.now();
    this.#asking = this.#client.report().then(
      (report) => {
        this.#before = this.#now;
        this.#now = report;
        this.answers++;
        this.#asking = undefined;
      },
      () => {
        this.ended = true;
        this.#asking = undefined;
      },
    );
    return this.#asking;
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

export interface Look {
  /** By name. */
  views: View[];
  /** Those of them that have answered to this look. */
  fresh: Set<string>;
  /** Names of those that were there and are no more. */
  ended: string[];
}

export class WatchedNetworks implements AsyncDisposable {
  readonly #only: string | undefined;
  readonly #all = new Map<string, Watched>();

  /** @param only the name of one; all that there are, and come, when left out */
  constructor(only: string | undefined) {
    this.#only = only;
  }

  /** @throws ERR_SOCKET where there is none, ERR_PERMISSION where it is another user's, ERR_CONFIG for what is no name */
  async begin(): Promise<void> {
    if (this.#only !== undefined) {
      this.#all.set(this.#only, new Watched(await connectControl(this.#only)));
      return;
    }
    await this.#find();
    if (this.#all.size > 0) return;
    throw new TunconnectorError('ERR_SOCKET', 'no network is running', {
      remedy: 'start one first, as the same user',
    });
  }

  /** Asks all of them. What did not answer before `limit` settles is told as it was. */
  async look(limit: Promise<unknown>): Promise<Look> {
    if (this.#only === undefined) await this.#find();
    const answers = new Map([...this.#all].map(([name, { answers }]) => [name, answers]));
    await Promise.race([Promise.all([...this.#all.values()].map((each) => each.ask())), limit]);
    const ended = [...this.#all.values()].filter((each) => each.ended);
    for (const each of ended) {
      this.#all.delete(each.name);
      void each.close();
    }
    const all = [...this.#all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const fresh = all.filter((each) => each.answers > (answers.get(each.name) ?? 0));
    return {
      views: all.map(({ view }) => view),
      fresh: new Set(fresh.map(({ name }) => name)),
      ended: ended.map(({ name }) => name),
    };
  }

  async #find(): Promise<void> {
    for (const { name } of await listNetworks()) {
      if (this.#all.has(name)) continue;
      // It may have ended just now.
      const client = await connectControl(name).catch(() => undefined);
      if (client) this.#all.set(name, new Watched(client));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all.values()].map((each) => each.close()));
  }
}
