/** The byte work of the addon, called from JavaScript, against the same in a C program. */
import { execute } from '../harness/execute.ts';
import type { VisitContext } from '../harness/lab.ts';
import { program, twin } from '../harness/root.ts';
import type { Experiment, Sample } from '../harness/rounds.ts';

const SUITE = 'native';
const OURS = 'ours, addon';
const TWIN = 'C';
const SEGMENT = 'segmentation, 45 segments';
const PACKED = 'segmentation, back to back';
const CHECKSUM = 'checksum, 1500 B';
const SINGLE = 'checksum, 1500 B, a call each';
/** Of the twin's time: ours may take 1 / 0.95 of it. */
const SPEED = 0.95;
const LIMIT_SECONDS = 60;

interface Figures {
  segment: { ns_median: number };
  packed?: { ns_median: number };
  checksum: { ns_median: number };
  checksumSingle?: { ns_median: number };
}

export function nativeExperiments(): Experiment[] {
  const bar = { quantity: 'time' as const, subject: OURS, reference: TWIN, atMost: round(1 / SPEED) };
  return [
    {
      suite: SUITE,
      title: 'native',
      secondsPerVisit: 1,
      visits: [
        { subject: TWIN, overhead: 0, measure: (context) => run([twin('native')], context) },
        {
          subject: OURS,
          overhead: 0,
          measure: (context) => run([process.execPath, program('native')], context),
        },
      ],
      bars: [
        { ...bar, path: SEGMENT },
        { ...bar, path: CHECKSUM },
      ],
    },
  ];
}

const round = (value: number) => Math.round(value * 1000) / 1000;

async function run(argv: string[], { placement, signal }: VisitContext): Promise<Sample[]> {
  const text = await execute(argv, { cpu: placement.server, seconds: LIMIT_SECONDS, signal });
  return figureSamples(JSON.parse(text));
}

function figureSamples({ segment, packed, checksum, checksumSingle }: Figures): Sample[] {
  const sample = (path: string, { ns_median: value }: { ns_median: number }) =>
    ({ path, quantity: 'time', value }) as const;
  return [
    sample(SEGMENT, segment),
    ...(packed ? [sample(PACKED, packed)] : []),
    sample(CHECKSUM, checksum),
    ...(checksumSingle ? [sample(SINGLE, checksumSingle)] : []),
  ];
}
