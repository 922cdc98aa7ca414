/** `tunconnector impair` between two hosts, as users start it. */
import type { HostProcess } from 'tunconnector/testing';
import { startJson, stopJson } from '../../harness/json-program.ts';
import { type Lab, OUTER, reachable, withBridgeLab } from '../../harness/lab.ts';
import { COMMAND } from '../../harness/root.ts';
import type { Sample, Visit } from '../../harness/rounds.ts';

export const SUITE = 'impair';

const START_LIMIT_MS = 15_000;
const END_LIMIT_MS = 5000;
/** A delay of a second each way keeps the first answer for four: neighbours are asked for first. */
const PATIENCE_SECONDS = 5;

/** What is measured while the hosts are joined, and what is read from the report at the end. */
export interface Measurement {
  /**
   * Left to the scheduler, also where all else is pinned: on one processor the packets' thread waits for V8's other threads
   * of the same process, which a machine that is idle has another one for.
   */
  free?: boolean;
  measure(lab: Lab): Promise<Sample[]>;
  report?(report: Report): Sample[];
}

/** The part of the command's report that is read here. */
export interface Report {
  up: { pipelines: { stages: StageReport[] }[] };
}

interface StageReport {
  kind: string;
  drops: Record<string, number>;
  /** ns. */
  lateness: { count: number; p50: number; p99: number };
}

/** Any other program that joins the interfaces `left` and `right` of the host in the middle. */
export function bridgeVisit(subject: string, argv: readonly string[], { measure }: Measurement): Visit {
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

export function impairVisit(
  subject: string,
  words: readonly string[],
  { measure, report, free = false }: Measurement,
): Visit {
  return {
    subject,
    measure: (context) =>
      withBridgeLab(context, async (lab, middle) => {
        const argv = [process.execPath, COMMAND, 'impair', 'left', 'right', '--json', ...words];
        const command = lab.spawn(middle, free ? undefined : lab.placement.bridge, argv);
        await command.waitFor('"event":"up"', START_LIMIT_MS);
        await reachable(lab, lab.a, OUTER.b, PATIENCE_SECONDS);
        const measured = await measure(lab);
        const { code, signal } = await command.stop('SIGTERM', END_LIMIT_MS);
        if (code !== 0) throw new Error(`it ended with ${code ?? signal}: ${command.stderr.trim()}`);
        return report ? [...measured, ...report(reportOf(command))] : measured;
      }),
  };
}

function reportOf({ stdout }: HostProcess): Report {
  const line = stdout.split('\n').findLast((each) => each.includes('"event":"report"'));
  if (line === undefined) throw new Error('it ended without a report');
  return JSON.parse(line) as Report;
}

/** What the first delay of the way up says of its own error. */
export function ownLateness(path: string): (report: Report) => Sample[] {
  return ({ up }) => {
    const stage = up.pipelines[0]?.stages.find(({ kind }) => kind === 'delay');
    if (!stage || stage.lateness.count === 0) throw new Error('the report has no delay that delayed');
    return [
      { path, quantity: 'lateMedian', value: stage.lateness.p50 },
      { path, quantity: 'lateP99', value: stage.lateness.p99 },
    ];
  };
}
