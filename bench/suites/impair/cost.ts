/** What impairments cost on a bridge of two veths. */
import { iperf } from '../../harness/iperf.ts';
import { type Lab, OUTER } from '../../harness/lab.ts';
import { program, twin } from '../../harness/root.ts';
import type { Experiment, Sample } from '../../harness/rounds.ts';
import { bridgeVisit, impairVisit, SUITE } from './command.ts';

const TCP = 'TCP over a bridge';
const TWIN = 'C, recvmmsg';
const BRIDGE = 'ours, no pipeline';
const PASS = 'ours, nothing to do';
const DECIDING = 'ours, decides, loses none';

/** Asked for every wire packet, and never so. */
const NEVER = ['--loss', '0.00000001%'];

export function costExperiments(seconds: number): Experiment[] {
  const bar = { path: TCP, quantity: 'throughput' as const };
  const tcp = { measure: throughput };
  return [
    {
      suite: SUITE,
      title: TCP,
      secondsPerVisit: seconds + 1,
      visits: [
        bridgeVisit(TWIN, [twin('bridge'), 'left', 'right'], tcp),
        bridgeVisit(BRIDGE, [process.execPath, program('bridge'), 'left', 'right'], tcp),
        impairVisit(PASS, [], tcp),
        impairVisit(DECIDING, NEVER, tcp),
      ],
      bars: [
        { ...bar, subject: PASS, reference: BRIDGE, atLeast: 0.85 },
        { ...bar, subject: DECIDING, reference: PASS, atLeast: 0.7 },
        { ...bar, subject: PASS, reference: TWIN, atLeast: 0.85 },
      ],
    },
  ];
}

async function throughput(lab: Lab): Promise<Sample[]> {
  const { client, server } = lab.placement;
  const tcp = (seconds: number) =>
    iperf(lab, {
      ...{ client: lab.a, server: lab.b, address: OUTER.b, seconds },
      ...{ clientCpu: client, serverCpu: server },
    });
  await tcp(1);
  return [{ path: TCP, quantity: 'throughput', value: (await tcp(lab.seconds)).bitsPerSecond }];
}
