/**
 * Two ways to decide for each wire packet of a superframe: to slice it where verdicts differ, or to cut everything on
 * entry and to merge on exit. TCP over ports that merge what they write, and over some that do not; processor time is
 * that of the link alone.
 */
import type { Host } from 'tunconnector/testing';
import { cpuSeconds } from '../harness/cpu.ts';
import { iperf } from '../harness/iperf.ts';
import { startJson, stopJson } from '../harness/json-program.ts';
import { type Lab, OUTER, reachable, type VisitContext, withBridgeLab, withLab } from '../harness/lab.ts';
import { program } from '../harness/root.ts';
import type { Experiment, Sample, Visit } from '../harness/rounds.ts';
import { bytesToGB } from './suite.ts';
import { cpuSample } from './tcp.ts';

const SUITE = 'slicing';
const SLICED = 'sliced where verdicts differ';
const CUT = 'cut on entry, merged on exit';
const CUT_ONLY = 'cut on entry';
const INNER = { a: '10.88.0.1', b: '10.88.0.2' };
/** As a shell's. */
const QUEUE_LENGTH = 2000;
/** Compiling, on a busy machine. */
const START_LIMIT_MS = 20_000;
/** The first decides for every wire packet all the same. With a seed, so that both lose the same ones. */
const LOSSES: Record<string, string> = {
  'decides, loses none': 'loss 0.00000001%',
  'loses 0.1 %': '{ seed: 7, up: loss 0.1% }',
  'loses 1 %': '{ seed: 7, up: loss 1% }',
  'loses 10 %': '{ seed: 7, up: loss 10% }',
};

export function slicingExperiments(seconds: number): Experiment[] {
  const over = (ends: string, cut: string, visit: typeof tunVisit) =>
    Object.entries(LOSSES).map(([title, spec]) => {
      const path = `TCP over two ${ends}, ${title}`;
      return {
        suite: SUITE,
        title: path,
        secondsPerVisit: seconds + 1,
        visits: [visit(SLICED, path, ['sliced', spec]), visit(cut, path, ['cut', spec])],
        bars: [],
      };
    });
  return [...over('TUNs', CUT, tunVisit), ...over('veths', CUT_ONLY, vethVisit)];
}

type Words = readonly [how: 'sliced' | 'cut', spec: string];

function tunVisit(subject: string, path: string, words: Words): Visit {
  return {
    subject,
    measure: (context: VisitContext) =>
      withLab(context, async (lab) => {
        const link = await start(lab, lab.a, words, [lab.a.path, lab.b.path]);
        for (const end of ['a', 'b'] as const) {
          await lab[end].ip([
            `link set dev tun0 txqueuelen ${QUEUE_LENGTH} up`,
            `addr add ${INNER[end]}/24 dev tun0`,
          ]);
        }
        return throughput(lab, path, INNER.b, link);
      }),
  };
}

function vethVisit(subject: string, path: string, words: Words): Visit {
  return {
    subject,
    measure: (context: VisitContext) =>
      withBridgeLab(context, async (lab, middle) => {
        const link = await start(lab, middle, words, ['left', 'right']);
        return throughput(lab, path, OUTER.b, link);
      }),
  };
}

type Link = Awaited<ReturnType<typeof startJson>>;

function start(lab: Lab, host: Host, words: Words, ends: readonly string[]): Promise<Link> {
  const argv = [process.execPath, program('impaired-link'), ...words, ...ends];
  return startJson(lab, host, lab.placement.bridge, argv, START_LIMIT_MS);
}

async function throughput(lab: Lab, path: string, address: string, link: Link): Promise<Sample[]> {
  const { client, server } = lab.placement;
  const tcp = (seconds: number) =>
    iperf(lab, {
      ...{ client: lab.a, server: lab.b, address, seconds },
      ...{ clientCpu: client, serverCpu: server },
    });
  await reachable(lab, lab.a, address);
  await tcp(1);
  const before = await cpuSeconds([link.pid!]);
  const { bitsPerSecond, bytes } = await tcp(lab.seconds);
  const cpu = (await cpuSeconds([link.pid!])) - before;
  await stopJson(link);
  return [
    { path, quantity: 'throughput', value: bitsPerSecond },
    ...cpuSample(path, 'cpuPerGB', cpu / bytesToGB(bytes)),
  ];
}
