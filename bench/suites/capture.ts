/** What writing a capture costs: the beginning of each packet, into memory. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { Lab } from '../harness/lab.ts';
import type { Experiment, Sample } from '../harness/rounds.ts';
import { ours, worker } from '../subjects/ours.ts';
import { tunnelVisit } from './suite.ts';
import { tcp, warmUp } from './tcp.ts';

const SUITE = 'capture';
const PATH = 'TCP v4, captured';
const SNAP_LENGTH = 128;

const fileOf = (lab: Lab) => path.join(lab.scratch, 'tunnel.pcapng');

const capturing = ours({
  name: 'ours, capturing',
  words: ['--thread', 'worker'],
  clientWords: (lab) => ['--pcap', fileOf(lab), '--snaplen', `${SNAP_LENGTH}`, '--json'],
});

export function captureExperiments(seconds: number): Experiment[] {
  return [
    {
      suite: SUITE,
      title: PATH,
      secondsPerVisit: seconds + 1,
      visits: [
        tunnelVisit(worker, async (lab, tunnel) => {
          await warmUp(lab, tunnel);
          return tcp(lab, tunnel, { path: PATH, seconds: lab.seconds });
        }),
        tunnelVisit(capturing, async (lab, tunnel) => {
          await warmUp(lab, tunnel);
          const samples = await tcp(lab, tunnel, { path: PATH, seconds: lab.seconds });
          // The report comes at the end.
          await tunnel.stop();
          await rm(fileOf(lab), { force: true });
          return [...samples, missedSample(tunnel.a.process!.stdout)];
        }),
      ],
      bars: [
        {
          path: PATH,
          quantity: 'throughput',
          subject: capturing.name,
          reference: worker.name,
          atLeast: 0.7,
        },
        { path: PATH, quantity: 'missed', subject: capturing.name, atMost: 0 },
      ],
    },
  ];
}

/** Packets that the capture missed, by the `report` event of `--json`. */
export function missedSample(stdout: string): Sample {
  const report = stdout
    .split('\n')
    .filter((line) => line.includes('"event":"report"'))
    .map((line) => JSON.parse(line) as { captures?: { packets: number; missed: number; failed: boolean }[] })
    .at(-1);
  const capture = report?.captures?.[0];
  if (!capture) throw new Error('the report has no capture');
  if (capture.failed || capture.packets === 0) throw new Error('the capture could not be written');
  return { path: PATH, quantity: 'missed', value: capture.missed };
}
