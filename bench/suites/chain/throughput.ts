/** TCP through chains, and the processor time of their functions. */
import { cpuSeconds } from '../../harness/cpu.ts';
import { iperf } from '../../harness/iperf.ts';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { functionsOf, innerAddress, OURS, type Path, pathVisit, SUBJECTS, SUITE, TWIN } from './path.ts';

const LENGTHS = [0, 1, 3];
const AT_LEAST: Record<number, number> = { 1: 0.7, 3: 0.45 };
const pathOf = (length: number) => `TCP, ${functionsOf(length)}`;
/** Payload of what is counted as one superframe. */
const SUPERFRAME = 65_536;
const WARM_UP_SECONDS = 1;

export function throughputExperiments(seconds: number): Experiment[] {
  return [
    {
      suite: SUITE,
      title: 'TCP',
      secondsPerVisit: LENGTHS.length * (seconds + WARM_UP_SECONDS),
      visits: SUBJECTS.map((subject) => pathVisit(subject, LENGTHS, throughputs)),
      bars: LENGTHS.slice(1).flatMap((length) => {
        const bar = { path: pathOf(length), subject: OURS };
        return [
          {
            ...{ ...bar, quantity: 'throughput' as const, reference: OURS, referencePath: pathOf(0) },
            atLeast: AT_LEAST[length]!,
          },
          { ...bar, quantity: 'cpuPerSuperframe' as const, reference: TWIN, atMost: 1.2 },
        ];
      }),
    },
  ];
}

async function throughputs({ lab, functions }: Path): Promise<Sample[]> {
  const tcp = (length: number, seconds: number) =>
    iperf(lab, {
      ...{ client: lab.a, server: lab.b, address: innerAddress(length), seconds },
      ...{ clientCpu: lab.placement.client, serverCpu: lab.placement.server },
    });
  const samples: Sample[] = [];
  for (const length of LENGTHS) {
    await tcp(length, WARM_UP_SECONDS);
    const pids = functions.slice(0, length).map(({ pid }) => pid!);
    const before = await cpuSeconds(pids);
    const { bitsPerSecond, bytes } = await tcp(length, lab.seconds);
    const cpu = (await cpuSeconds(pids)) - before;
    const path = pathOf(length);
    samples.push({ path, quantity: 'throughput', value: bitsPerSecond });
    if (length > 0) {
      const value = (cpu * 1e9 * SUPERFRAME) / bytes / length;
      samples.push({ path, quantity: 'cpuPerSuperframe', value });
    }
  }
  return samples;
}
