/** What the suites share. */
import { cpuSeconds } from '../harness/cpu.ts';
import { type Lab, reachable, type VisitContext, withLab } from '../harness/lab.ts';
import { unmetNeeds } from '../harness/programs.ts';
import type { Sample, Visit } from '../harness/rounds.ts';
import type { Subject, Tunnel } from '../subjects/subject.ts';

/** A turn of a subject: hosts, the tunnel between them, what is measured, and the end of all of it. */
export function tunnelVisit(
  subject: Subject,
  measure: (lab: Lab, tunnel: Tunnel) => Promise<Sample[]>,
): Visit {
  return {
    subject: subject.name,
    absent: absenceOf(subject),
    measure: (context: VisitContext) =>
      withLab(context, async (lab) => {
        const started = await subject.start(lab);
        let stopped = false;
        // A measurement may end the tunnel itself, to read what it says at its end.
        const stop = () => {
          stopped = true;
          return started.stop();
        };
        const tunnel = { ...started, stop };
        await reachable(lab, lab.a, tunnel.b.v4);
        await reachable(lab, lab.a, tunnel.b.v6);
        const samples = await measure(lab, tunnel);
        if (stopped) return samples;
        for (const { process } of [tunnel.a, tunnel.b]) {
          if (process && !process.running) throw new Error(`it ended early: ${process.stderr.trim()}`);
        }
        await tunnel.stop();
        return samples;
      }),
  };
}

function absenceOf({ needs = [], root = false }: Subject): string | undefined {
  return unmetNeeds(needs) ?? (root && process.geteuid?.() !== 0 ? 'needs root' : undefined);
}

/** Runs `work`, and says how much processor time both ends of the tunnel took for it; NaN where they are the kernel. */
export async function withCpu<T>(
  tunnel: Tunnel,
  work: () => Promise<T>,
): Promise<{ result: T; cpu: number }> {
  const pids = [tunnel.a, tunnel.b].flatMap(({ process }) => process?.pid ?? []);
  if (pids.length === 0) return { result: await work(), cpu: Number.NaN };
  const before = await cpuSeconds(pids);
  const result = await work();
  return { result, cpu: (await cpuSeconds(pids)) - before };
}

/** Both addresses of the far end, by the family that is asked for. */
export const addressOf = (end: Tunnel['a'], family: 4 | 6) => (family === 4 ? end.v4 : end.v6);

export const bytesToGB = (bytes: number) => bytes / 1e9;
