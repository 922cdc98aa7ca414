/** Garbage collections while a tunnel runs at full rate: the data path makes no garbage. */

import type { Experiment } from '../harness/rounds.ts';
import { main, ours, worker } from '../subjects/ours.ts';
import { tunnelVisit } from './suite.ts';
import { tcp } from './tcp.ts';

const SUITE = 'gc';
const TITLE = 'full rate for a minute';
/** Each end sends for one half of the time. */
const PATHS = { a: `${TITLE}, client`, b: `${TITLE}, server` };
/** In units of `--seconds`: a minute at 3 s, half of it in each direction, after 15 s in which code is compiled. */
const MEASURED = 20;
const WARM_UP = 5;

export function gcExperiments(seconds: number): Experiment[] {
  return [
    {
      suite: SUITE,
      title: TITLE,
      rounds: 1,
      secondsPerVisit: (MEASURED + WARM_UP) * seconds,
      visits: [worker, main].map(({ name }) =>
        tunnelVisit(
          ours({
            name,
            words: ['--thread', name === worker.name ? 'worker' : 'main'],
            nodeWords: ['--trace-gc'],
          }),
          async (lab, tunnel) => {
            const bothWays = async (seconds: number) => {
              const each = { seconds: seconds / 2, path: PATHS.a };
              return [
                ...(await tcp(lab, tunnel, each)),
                ...(await tcp(lab, tunnel, { ...each, path: PATHS.b, reverse: true })),
              ].filter(({ quantity }) => quantity === 'throughput');
            };
            await bothWays(WARM_UP * lab.seconds);
            const written = (end: 'a' | 'b') => tunnel[end].process!.stdout;
            const before = { a: written('a').length, b: written('b').length };
            const samples = await bothWays(MEASURED * lab.seconds);
            for (const end of ['a', 'b'] as const) {
              const value = collections(written(end).slice(before[end]));
              samples.push({ path: PATHS[end], quantity: 'collections', value });
            }
            return samples;
          },
        ),
      ),
      // On the main thread Node makes garbage in each round of its own loop; a worker goes without the rounds.
      bars: Object.values(PATHS).map((path) => ({
        path,
        quantity: 'collections' as const,
        subject: worker.name,
        atMost: 0,
      })),
    },
  ];
}

/**
 * Lines of `--trace-gc`: `[4711:0x5f3] 1204 ms: Scavenge 12.1 (16.0) -> ...`. Without `Mark-Compact (reduce)`: V8's memory
 * reducer gives back what starting up took, and does so twice in a tunnel that carries nothing.
 */
export function collections(text: string): number {
  return text.match(/^\[\d+:0x[0-9a-f]+\]\s+\d+ ms: (?!Mark-Compact \(reduce\))\S/gm)?.length ?? 0;
}
