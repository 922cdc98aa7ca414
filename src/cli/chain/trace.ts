/** `chain trace`: where the packets of a flow go, and how long it takes to each hop and back. */
import { setTimeout as wait } from 'node:timers/promises';
import type { TraceAnswer } from '../../control/client/roulette.ts';
import { Exit, usageError } from '../exit.ts';
import { untilEnd } from '../until-end.ts';
import { type ChainAction, numberOf } from './chain.ts';
import { type Row, table } from './table.ts';

const MOST = 1000;
/** ms between two probes; and behind one that was lost, so that its late answers are not taken for those of the next. */
const INTERVAL = 200;
const AFTER_LOSS = 1000;

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
  const [flow, more] = words;
  if (flow === undefined)
    throw usageError('chain trace: which flow?', 'name its id; "chain show flows" has them');
  if (more !== undefined) throw usageError(`chain trace: found "${more}" behind "${flow}"`, 'leave it out');
  if (!/^[0-9a-f]{16}$/.test(flow))
    throw usageError(`chain trace: found "${flow}", expected the id of a flow, 16 hexadecimal digits`);
  const probes = count === undefined ? 1 : numberOf(count, '--count', 1, MOST);
  const client = await connected.client();
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
      if (n > 0)
        await wait(lost > 0 ? AFTER_LOSS : INTERVAL, undefined, { signal: stop.signal }).catch(() => {});
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
