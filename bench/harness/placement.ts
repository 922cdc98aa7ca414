/**
 * Which processor does what. Unpinned, UDP figures vary by 25 % from run to run on two cores, because the scheduler
 * moves the five parties about. Pinned, each core has one busy end of the tunnel and one end of the traffic, whichever
 * way that flows; what a comparison measures is then the programs, and not the scheduler's luck.
 */
import { readFileSync } from 'node:fs';

export interface Placement {
  /** The sender of the traffic, on host a. */
  client?: number;
  /** The receiver, on host b. */
  server?: number;
  /** The end of the tunnel on host a. */
  tunnelA?: number;
  tunnelB?: number;
  /** Shares the receiver's, which it wakes: twice the TCP of a core of its own, beside both ends on the other. */
  bridge?: number;
}

export const FREE: Placement = {};

/** Two of the processors that this process may use; nothing is pinned where there is one alone. */
export function pinned(cpus: readonly number[] = allowedCpus()): Placement {
  const [first, second] = cpus;
  if (first === undefined || second === undefined) return FREE;
  return {
    client: first,
    server: second,
    tunnelA: second,
    tunnelB: first,
    bridge: second,
  };
}

export function onCpu(cpu: number | undefined, argv: readonly string[]): string[] {
  return cpu === undefined ? [...argv] : ['taskset', '--cpu-list', `${cpu}`, ...argv];
}

/** `0-1,4` is 0, 1 and 4. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter(Boolean)
    .flatMap((part) => {
      const [first, last = first] = part.split('-').map(Number);
      return Array.from({ length: last! - first! + 1 }, (_, n) => first! + n);
    });
}

function allowedCpus(): number[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  return parseCpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '');
}
