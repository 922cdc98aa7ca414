/** CPU time of processes. */
import { readFile } from 'node:fs/promises';

/** USER_HZ: what /proc counts in, whatever the kernel's own tick is (proc(5)). */
const TICKS_PER_SECOND = 100;

/** Seconds of user and system time that the text of a /proc/PID/stat holds: all threads, also those that ended. */
export function parseCpuSeconds(stat: string): number {
  // The name in parentheses may hold spaces and parentheses itself; behind it stands field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[14 - 3]) + Number(fields[15 - 3])) / TICKS_PER_SECOND;
}

/** Sum over the processes. @throws when one of them has ended */
export async function cpuSeconds(pids: readonly number[]): Promise<number> {
  const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8')));
  return stats.reduce((sum, stat) => sum + parseCpuSeconds(stat), 0);
}
