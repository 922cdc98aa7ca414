/** Looks at the impairments of a link, in whichever thread it runs: asked by messages, one answer to each. */
import type { MessagePort } from 'node:worker_threads';
import type { Attachable, Attached } from '../../engine/attach.ts';
import type { Network } from '../../engine/network.ts';
import { TunconnectorError } from '../../errors.ts';
import type { WatchedDrops } from '../../impair/drop-watch.ts';
import type { FlowColumns } from '../../impair/flows.ts';
import type { Impair } from '../../impair/impair.ts';
import type { ImpairInspection, PipelineReport, StageReport } from '../../impair/inspect.ts';
import type { Direction } from '../../impair/match.ts';
import type { DirectionStats, RuleStats, StageStats } from './contract.ts';

/** Of one direction: drops since the look before, at most so many. */
export const DROPS = 200;
/** Flows of one answer: 0.4 MB, which take the thread some 0.1 ms. */
const FLOWS = 4096;

type Question =
  | { ask: 'stats'; rules: number }
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
  port.on('close', () => answer(network, { ask: 'unwatch' }));
  return network.runtime.startOfTime;
};

function answer(network: Network, question: Question): unknown {
  const up = network.get('up') as Impair;
  const down = network.get('down') as Impair;
  switch (question.ask) {
    case 'stats': {
      const look = (app: Impair) => directionStats(app.inspect(0, question.rules));
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
      for (const app of [up, down]) app?.unwatchDrops();
      return undefined;
  }
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
  const queue = typeof waiting === 'number' ? { waiting, waitingBytes: waitingBytes as number } : {};
  return { ...stage, ...queue, details: others };
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

  /** Who asks again before the answer is there gets the same answer. @param rules most of each direction */
  stats(rules: number): Promise<LinkStats> {
    const asked =
      this.#asked.get(rules) ??
      this.#ask<LinkStats>({ ask: 'stats', rules }).finally(() => this.#asked.delete(rules));
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
