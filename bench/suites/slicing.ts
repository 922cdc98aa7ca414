/**
 * Two ways to decide for each wire packet of a superframe: to slice it where verdicts differ, or to cut everything on
 * entry and to merge on exit. TCP between two TUNs, each the end of a host; processor time is that of the link alone.
 */
import { cpuSeconds } from '../harness/cpu.ts';
import { iperf } from '../harness/iperf.ts';
import { startJson, stopJson } from '../harness/json-program.ts';
import { type Lab, reachable, withLab } from '../harness/lab.ts';
import { program } from '../harness/root.ts';
import type { Experiment, Sample, Visit } from '../harness/rounds.ts';
import { bytesToGB } from './suite.ts';
import { cpuSample } from './tcp.ts';

const SUITE = 'slicing';
const SLICED = 'sliced where verdicts differ';
const CUT = 'cut on entry, merged on exit';
const LINK = { a: '10.88.0.1', b: '10.88.0.2' };
/** As a shell's. */
const QUEUE_LENGTH = '2000';
/** The first decides for every wire packet all the same. With a seed, so that both lose the same ones. */
const LOSSES: Record<string, string> = {
  'decides, loses none': 'loss 0.00000001%',
  'loses 0.1 %': '{ seed: 7, up: loss 0.1% }',
  'loses 1 %': '{ seed: 7, up: loss 1% }',
  'loses 10 %': '{ seed: 7, up: loss 10% }',
};

export function slicingExperiments(seconds: number): Experiment[] {
  return Object.entries(LOSSES).map(([title, text]) => {
    const path = `TCP over two TUNs, ${title}`;
    return {
      suite: SUITE,
      title: path,
      secondsPerVisit: seconds + 1,
      visits: [visit(SLICED, path, 'sliced', text), visit(CUT, path, 'cut', text)],
      bars: [],
    };
  });
}

function visit(subject: string, path: string, how: 'sliced' | 'cut', spec: string): Visit {
  return {
    subject,
    measure: (context) =>
      withLab(context, async (lab) => {
        const argv = [process.execPath, program('impaired-tuns'), how, spec, lab.a.path, lab.b.path];
        const link = await startJson(lab, lab.a, lab.placement.bridge, argv);
        await address(lab);
        const measured = await throughput(lab, path, link.pid!);
        await stopJson(link);
        return measured;
      }),
  };
}

async function address(lab: Lab): Promise<void> {
  for (const end of ['a', 'b'] as const) {
    await lab[end].ip([
      `link set dev tun0 txqueuelen ${QUEUE_LENGTH} up`,
      `addr add ${LINK[end]}/24 dev tun0`,
    ]);
  }
  await reachable(lab, lab.a, LINK.b);
}

async function throughput(lab: Lab, path: string, pid: number): Promise<Sample[]> {
  const { client, server } = lab.placement;
  const tcp = (seconds: number) =>
    iperf(lab, {
      ...{ client: lab.a, server: lab.b, address: LINK.b, seconds },
      ...{ clientCpu: client, serverCpu: server },
    });
  await tcp(1);
  const before = await cpuSeconds([pid]);
  const { bitsPerSecond, bytes } = await tcp(lab.seconds);
  const cpu = (await cpuSeconds([pid])) - before;
  return [
    { path, quantity: 'throughput', value: bitsPerSecond },
    ...cpuSample(path, 'cpuPerGB', cpu / bytesToGB(bytes)),
  ];
}
