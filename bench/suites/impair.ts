/** What impairments cost on a bridge of two veths, and how well they keep time. */
import type { HostProcess } from 'tunconnector/testing';
import { iperf } from '../harness/iperf.ts';
import { startJson, stopJson } from '../harness/json-program.ts';
import { type Lab, OUTER, reachable, withBridgeLab } from '../harness/lab.ts';
import { ping } from '../harness/ping.ts';
import { COMMAND, program, twin } from '../harness/root.ts';
import type { Experiment, Sample, Visit } from '../harness/rounds.ts';
import { samples } from './rtt.ts';

const SUITE = 'impair';
const TCP = 'TCP over a bridge';
const DELAY = 'delay of 10 ms each way';
const TWIN = 'C, recvmmsg';
const BRIDGE = 'ours, no pipeline';
const PASS = 'ours, nothing to do';
const DECIDING = 'ours, decides, loses none';
const DELAYED = 'ours, delay 10ms';
const VETH = 'ours, bridge alone';

/** Asked for every wire packet, and never so. */
const NEVER = ['--loss', '0.00000001%'];
const END_LIMIT_MS = 5000;

export function impairExperiments(seconds: number): Experiment[] {
  const bar = { path: TCP, quantity: 'throughput' as const };
  return [
    {
      suite: SUITE,
      title: TCP,
      secondsPerVisit: seconds + 1,
      visits: [
        bridgeVisit(TWIN, [twin('bridge'), 'left', 'right'], throughput),
        bridgeVisit(BRIDGE, [process.execPath, program('bridge'), 'left', 'right'], throughput),
        impairVisit(PASS, [], throughput),
        impairVisit(DECIDING, NEVER, throughput),
      ],
      bars: [
        { ...bar, subject: PASS, reference: BRIDGE, atLeast: 0.85 },
        { ...bar, subject: DECIDING, reference: PASS, atLeast: 0.7 },
        { ...bar, subject: PASS, reference: TWIN, atLeast: 0.85 },
      ],
    },
    {
      suite: SUITE,
      title: DELAY,
      secondsPerVisit: seconds,
      visits: [
        bridgeVisit(VETH, [process.execPath, program('bridge'), 'left', 'right'], roundTrips),
        impairVisit(DELAYED, ['--delay', '10ms'], roundTrips),
      ],
      bars: [
        { path: DELAY, quantity: 'lateMedian', subject: DELAYED, atMost: 50_000 },
        { path: DELAY, quantity: 'lateP99', subject: DELAYED, atMost: 250_000 },
      ],
    },
  ];
}

type Measure = (lab: Lab) => Promise<Sample[]>;

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

async function roundTrips(lab: Lab): Promise<Sample[]> {
  const { seconds, signal } = lab;
  const times = await ping(lab.a, OUTER.b, { seconds, cpu: lab.placement.client, signal });
  return samples(DELAY, times, ['rttMean', 'rttMedian']);
}

function bridgeVisit(subject: string, argv: string[], measure: Measure): Visit {
  return {
    subject,
    measure: (context) =>
      withBridgeLab(context, async (lab, middle) => {
        const bridge = await startJson(lab, middle, lab.placement.bridge, argv);
        await reachable(lab, lab.a, OUTER.b);
        const measured = await measure(lab);
        await stopJson(bridge);
        return measured;
      }),
  };
}

/** The command, as users start it. */
function impairVisit(subject: string, words: string[], measure: Measure): Visit {
  return {
    subject,
    measure: (context) =>
      withBridgeLab(context, async (lab, middle) => {
        const argv = [process.execPath, COMMAND, 'impair', 'left', 'right', '--json', ...words];
        const command = lab.spawn(middle, lab.placement.bridge, argv);
        await command.waitFor('"event":"up"', END_LIMIT_MS);
        await reachable(lab, lab.a, OUTER.b);
        const measured = await measure(lab);
        const { code, signal } = await command.stop('SIGTERM', END_LIMIT_MS);
        if (code !== 0) throw new Error(`it ended with ${code ?? signal}: ${command.stderr.trim()}`);
        return [...measured, ...lateness(command)];
      }),
  };
}

interface Report {
  up: { pipelines: { stages: { kind: string; lateness: { p50: number; p99: number } }[] }[] };
}

/** What the stage says of its own error, in one direction. */
function lateness(command: HostProcess): Sample[] {
  const line = command.stdout.split('\n').findLast((each) => each.includes('"event":"report"'));
  if (line === undefined) throw new Error('it ended without a report');
  const [{ stages }] = (JSON.parse(line) as Report).up.pipelines as [Report['up']['pipelines'][0]];
  return stages.flatMap(({ kind, lateness }): Sample[] =>
    kind !== 'delay'
      ? []
      : [
          { path: DELAY, quantity: 'lateMedian', value: lateness.p50 },
          { path: DELAY, quantity: 'lateP99', value: lateness.p99 },
        ],
  );
}
