/** `chain trace`: where the packets of a flow go, and how long it takes to each hop and back. */
import { setTimeout as wait } from 'node:timers/promises';
import type { RouletteClient, TraceAnswer } from '../../control/client/roulette.ts';
import { TunconnectorError } from '../../errors.ts';
import { Exit, usageError } from '../exit.ts';
import { untilEnd } from '../until-end.ts';
import { type ChainAction, numberOf } from './chain.ts';
import { type Row, table } from './table.ts';

const MOST = 1000;
/** ms between two probes. */
const INTERVAL = 200;
/** Flows that are looked at for the one with such a key. */
const LOOKED_AT = 1000;

/** One replica at one position of the path. */
interface Hop {
  position: number;
  replica: number;
  function: string;
  address: string;
  /** ns, of the answers. */
  times: number[];
  lost: number;
}

export const traceChain: ChainAction = async (connected, words, { json = false, count }) => {
  if (words.length === 0)
    throw usageError(
      'chain trace: which flow?',
      'name its id, or its addresses; "chain show flows" has them',
    );
  const probes = count === undefined ? 1 : numberOf(count, '--count', 1, MOST);
  const client = await connected.client();
  const flow = await flowOf(client, words);
  const hops = new Map<string, Hop>();
  const end = untilEnd(['SIGINT', 'SIGTERM', 'SIGHUP']);
  const stop = new AbortController();
  void end.promise.then(
    () => stop.abort(),
    () => stop.abort(),
  );
  let isFirst = true;
  let lost = 0;
  try {
    for (let n = 0; n < probes && !stop.signal.aborted; n++) {
      if (n > 0) await wait(INTERVAL, undefined, { signal: stop.signal }).catch(() => {});
      if (stop.signal.aborted) break;
      const answer = await client.traceFlow(flow);
      if (json) process.stdout.write(`${JSON.stringify(answer)}\n`);
      else if (isFirst) process.stdout.write(`${headline(answer)}\n`);
      isFirst = false;
      lost = note(hops, answer);
    }
  } finally {
    end.forget();
    // Also when the flow ended on the way.
    if (!json && hops.size > 0) process.stdout.write(`${traceTable([...hops.values()], probes > 1)}\n`);
  }
  // The last probe has come through, or not.
  return lost === 0 ? Exit.ok : Exit.failure;
};

/** The id of the one flow with all these words in its key. */
async function flowOf(client: Pick<RouletteClient, 'flows'>, words: readonly string[]): Promise<string> {
  const [id] = words;
  if (words.length === 1 && /^[0-9a-f]{16}$/.test(id!)) return id!;
  const search = words.join(' ').toLowerCase();
  const { flows } = await client.flows({ search, limit: LOOKED_AT });
  const wanted = search.split(/\s+/);
  // 10.0.0.1:80 is not 10.0.0.1:8080.
  const found = flows.filter(({ key }) =>
    wanted.every((word) => key.toLowerCase().split(' ').includes(word)),
  );
  if (found.length === 1) return found[0]!.id;
  if (found.length === 0) {
    throw new TunconnectorError('ERR_NOT_FOUND', `there is no flow ${search}`, {
      remedy:
        'name an id, or words of a key such as "tcp 10.0.0.1:1000 10.0.0.2:80"; "chain show flows" has both',
    });
  }
  throw usageError(
    `chain trace: ${found.length} flows are ${search}: ${found
      .slice(0, 3)
      .map((each) => `${each.id} (${each.key})`)
      .join(', ')}${found.length > 3 ? ', ...' : ''}`,
    'name one of these ids, or more of its key',
  );
}

const headline = ({ id, spi, ingress }: TraceAnswer): string =>
  `flow ${id} on chain ${spi}, from ingress ${ingress}`;

/** @returns how many hops did not answer */
function note(hops: Map<string, Hop>, answer: TraceAnswer): number {
  let lost = 0;
  for (const { position, replica, function: name, address, time } of answer.hops) {
    const key = `${position}/${replica}`;
    const hop = hops.get(key) ?? { position, replica, function: name, address, times: [], lost: 0 };
    hops.set(key, hop);
    if (time !== null) hop.times.push(time);
    else {
      hop.lost++;
      lost++;
    }
  }
  return lost;
}

function traceTable(hops: readonly Hop[], isSeveral: boolean): string {
  const sorted = [...hops].sort((a, b) => a.position - b.position || a.replica - b.replica);
  const rows = sorted.map((hop): Row => {
    const { position, replica, function: name, address, times, lost } = hop;
    const who = [position + 1, name || '(gone)', replica, address];
    times.sort((a, b) => a - b);
    if (!isSeveral) return [...who, shown(times[0])];
    const all = times.length + lost;
    const middle = times[times.length >> 1];
    return [...who, `${lost} of ${all}`, shown(times[0]), shown(middle), shown(times.at(-1))];
  });
  const figures = isSeveral ? ['lost', 'best', 'median', 'worst'] : ['time'];
  return table(
    ['hop', 'function', 'replica', 'address', ...figures],
    ['hop', 'replica', ...figures],
    rows,
    '',
  );
}

const shown = (ns: number | undefined): string => (ns === undefined ? 'lost' : `${(ns / 1e6).toFixed(3)} ms`);
