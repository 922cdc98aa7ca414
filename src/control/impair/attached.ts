/** Looks at the impairments of a link, in whichever thread it runs: asked by messages, one answer to each. */
import type { MessagePort } from 'node:worker_threads';
import type { Attachable, Attached } from '../../engine/attach.ts';
import type { Network } from '../../engine/network.ts';
import { TunconnectorError } from '../../errors.ts';
import type { WatchedDrops } from '../../impair/drop-watch.ts';
import type { FlowColumns } from '../../impair/flows.ts';
import type { Impair } from '../../impair/impair.ts';
import {
  busiest,
  type ImpairInspection,
  type PipelineReport,
  type StageReport,
} from '../../impair/inspect.ts';
import type { Direction } from '../../impair/match.ts';
import type { Pipeline } from '../../impair/pipeline.ts';
import type { DirectionStats, RuleStats, StageStats } from './contract.ts';

/** Of one direction: drops since the look before, at most so many. */
export const DROPS = 200;
/** Flows of one answer: 0.4 MB, which take the thread a millisecond. */
const FLOWS = 4096;
/** Rules of each direction in one answer, `default` besides, which take as long. */
const RULES = 64;

type Question =
  | { ask: 'stats'; rules: number; from: number }
  | { ask: 'flows'; direction: Direction; from: number }
  | { ask: 'drops' }
  | { ask: 'unwatch' };

export interface LinkStats {
  /** On the network's clock, ns. */
  at: number;
  up: DirectionStats;
  down: DirectionStats;
}

export interface FlowSlice extends FlowColumns {
  at: number;
  /** Places there are: the next slice begins behind this one, or there is none. */
  places: number;
  /** Of pipelines, by place. */
  labels: string[];
}

/** To be attached. @returns when the network's clock began: ns of the Unix epoch */
export const answerQuestions: Attached<undefined, bigint> = (network, _options, port) => {
  port.on('message', ({ id, ...question }: Question & { id: number }) => {
    try {
      port.postMessage({ id, result: answer(network, question) });
    } catch (error) {
      port.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
  port.on('close', () => {
    try {
      unwatch(network);
    } catch {
      // The network was closed before.
    }
  });
  return network.runtime.startOfTime;
};

function answer(network: Network, question: Question): unknown {
  const up = network.get<Impair>('up');
  const down = network.get<Impair>('down');
  switch (question.ask) {
    case 'stats': {
      const { from, rules } = question;
      const chosen = (all: readonly Pipeline[]) =>
        rules > RULES ? all.slice(from, from + RULES) : busiest(all, rules);
      const look = (app: Impair) => directionStats(app.inspect(0, chosen));
      return { at: network.runtime.now(), up: look(up), down: look(down) } satisfies LinkStats;
    }
    case 'flows': {
      const app = question.direction === 'up' ? up : down;
      const slice = app.flowColumns(question.from, FLOWS);
      return { at: network.runtime.now(), labels: app.pipelineLabels(), ...slice } satisfies FlowSlice;
    }
    case 'drops':
      return [up.watchDrops(DROPS), down.watchDrops(DROPS)] satisfies WatchedDrops[];
    case 'unwatch':
      return unwatch(network);
  }
}

function unwatch(network: Network): void {
  network.get<Impair>('up').unwatchDrops();
  network.get<Impair>('down').unwatchDrops();
}

function directionStats({ pipelines, pipelineCount, flows, ...passed }: ImpairInspection): DirectionStats {
  const { packets, bytes, packetsOut, bytesOut, dropped, held, delay } = passed;
  const { known, limit, evicted } = flows;
  return {
    ...{ packets, bytes, packetsOut, bytesOut, dropped, held, delay },
    flows: { known, limit, evicted },
    ruleCount: pipelineCount,
    rules: pipelines.map(ruleStats),
  };
}

const ruleStats = ({ stages, ...rule }: PipelineReport): RuleStats => ({
  ...rule,
  stages: stages.map(stageStats),
});

/** Without its options, of which a trace's are a file. */
function stageStats({ options: _, details, ...stage }: StageReport): StageStats {
  const { waiting, waitingBytes, ...others } = details;
  // A delay has packets that wait, and no queue.
  if (typeof waiting !== 'number' || typeof waitingBytes !== 'number') return { ...stage, details };
  return { ...stage, waiting, waitingBytes, details: others };
}

/** Asks from the other side. */
export class LinkObserver {
  /** What 0 on the network's clock is elsewhere: ns of the Unix epoch. */
  readonly startOfTime: bigint;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>();
  readonly #asked = new Map<number, Promise<LinkStats>>();
  #nextId = 1;
  #closed = false;

  constructor(port: MessagePort, startOfTime: bigint) {
    this.startOfTime = startOfTime;
    this.#port = port;
    port.on('message', (message: { id: number; result: never; error?: string }) => {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error === undefined) waiting?.resolve(message.result);
      else waiting?.reject(new Error(message.error));
    });
    port.once('close', () => {
      this.#closed = true;
      for (const { reject } of this.#waiting.values()) reject(gone());
      this.#waiting.clear();
    });
  }

  /** Who asks again before the answer is there gets the same answer. @param rules most of each direction, the busiest */
  stats(rules: number): Promise<LinkStats> {
    const asked = this.#asked.get(rules) ?? this.#stats(rules).finally(() => this.#asked.delete(rules));
    this.#asked.set(rules, asked);
    return asked;
  }

  /** All flows of a direction, slice by slice, so that packets never wait for it. */
  async flows(direction: Direction): Promise<FlowSlice[]> {
    const slices: FlowSlice[] = [];
    let from = 0;
    let places = 1;
    while (from < places) {
      const slice = await this.#ask<FlowSlice>({ ask: 'flows', direction, from });
      slices.push(slice);
      places = slice.places;
      from += FLOWS;
    }
    return slices;
  }

  /** Those since the look before, up and down. The first look begins to watch. */
  drops(): Promise<[up: WatchedDrops, down: WatchedDrops]> {
    return this.#ask({ ask: 'drops' });
  }

  unwatchDrops(): Promise<void> {
    return this.#ask({ ask: 'unwatch' });
  }

  /** Many rules come slice by slice, so that packets never wait for them. */
  async #stats(rules: number): Promise<LinkStats> {
    const stats = await this.#ask<LinkStats>({ ask: 'stats', rules, from: 0 });
    if (rules <= RULES) return stats;
    const { up, down } = stats;
    for (let from = RULES; from < Math.max(up.ruleCount, down.ruleCount); from += RULES) {
      const more = await this.#ask<LinkStats>({ ask: 'stats', rules, from });
      up.rules.push(...more.up.rules);
      down.rules.push(...more.down.rules);
    }
    for (const direction of [up, down]) {
      const [first, ...others] = direction.rules;
      direction.rules = [first, ...others.sort((a, b) => b.bytes - a.bytes).slice(0, rules)];
    }
    return stats;
  }

  close(): void {
    this.#port.close();
  }

  #ask<Result>(question: Question): Promise<Result> {
    if (this.#closed) return Promise.reject(gone());
    return new Promise<Result>((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#port.postMessage({ id, ...question });
    });
  }
}

const gone = () => new TunconnectorError('ERR_CLOSED', 'the link has ended');

/** @param network one whose impairments are called `up` and `down` */
export async function observeLink(network: Attachable): Promise<LinkObserver> {
  const { result, port } = await network.attach<bigint>({
    module: import.meta.url,
    export: 'answerQuestions',
  });
  return new LinkObserver(port, result);
}
