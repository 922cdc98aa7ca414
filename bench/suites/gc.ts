/** Garbage collections while a tunnel runs at full rate: the data path makes no garbage. */

import type { Experiment } from '../harness/rounds.ts';
import { main, ours, worker } from '../subjects/ours.ts';
import { tunnelVisit } from './suite.ts';
import { tcp } from './tcp.ts';

const SUITE = 'gc';
const PATH = 'full rate, both ends';
/** In units of `--seconds`: a minute at 3 s, half of it in each direction, after 15 s in which code is compiled. */
const MEASURED = 20;
const WARM_UP = 5;

export function gcExperiments(seconds: number): Experiment[] {
  return [
    {
      suite: SUITE,
      title: PATH,
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
            const directions = async (each: number) => {
              const forward = await tcp(lab, tunnel, { path: PATH, seconds: each });
              await tcp(lab, tunnel, { path: PATH, seconds: each, reverse: true });
              return forward;
            };
            await directions((WARM_UP * lab.seconds) / 2);
            const ends = [tunnel.a.process!, tunnel.b.process!];
            const before = ends.map((end) => end.stdout.length);
            const samples = await directions((MEASURED * lab.seconds) / 2);
            const seen = ends.map((end, i) => collections(end.stdout.slice(before[i])));
            return [
              ...samples.filter(({ quantity }) => quantity === 'throughput'),
              { path: PATH, quantity: 'collections', value: seen.reduce((sum, each) => sum + each, 0) },
            ];
          },
        ),
      ),
      bars: [worker, main].map(({ name }) => ({
        path: PATH,
        quantity: 'collections',
        subject: name,
        atMost: 0,
      })),
    },
  ];
}

/** Lines of `--trace-gc`: `[4711:0x5f3] 1204 ms: Scavenge 12.1 (16.0) -> ...`. */
export function collections(text: string): number {
  return text.match(/^\[\d+:0x[0-9a-f]+\]\s+\d+ ms: \S/gm)?.length ?? 0;
}
