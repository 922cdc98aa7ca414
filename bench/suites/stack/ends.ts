/** A kernel's end of a TUN, the other end of which is a stack or a second kernel, and one TCP connection between them. */
import type { Host, HostProcess } from 'tunconnector/testing';
import { endOfJson, startJson, stopJson } from '../../harness/json-program.ts';
import type { Lab } from '../../harness/lab.ts';
import { program, twin } from '../../harness/root.ts';

export const SUITE = 'stack';
export const KERNEL = '10.9.0.1';
export const OTHER = '10.9.0.2';
export const PORT = '5001';
export const MTU = '1500';
/** As a shell's. */
const QUEUE_LENGTH = 2000;
/** Compiling, on a busy machine. */
export const START_LIMIT_MS = 20_000;
export const GRACE_SECONDS = 20;
/** What the stack does not count: its first second, and the time until the first byte comes. */
const WARM_UP_SECONDS = 1.5;

/** Both sides send with the same congestion control, whatever the machine's own is. */
export async function raise(host: Host, address: string, device = 'tun0'): Promise<void> {
  const [network] = address.match(/^\d+\.\d+\.\d+/)!;
  await host.ip([
    `link set dev ${device} mtu ${MTU} txqueuelen ${QUEUE_LENGTH} up`,
    `addr add ${address}/24 dev ${device}`,
    `route replace ${network}.0/24 dev ${device} src ${address} congctl cubic`,
  ]);
}

export type Form = 'whole' | 'cut';
export type Api = 'calls' | 'socket';

/** What a stack takes from a kernel, or gets to it, over a TUN. */
export async function withStack(
  lab: Lab,
  { api, form, job }: { api: Api; form: Form; job: 'sink' | 'source' },
): Promise<Figures> {
  const { client, server } = lab.placement;
  const words = [MTU, form, api, job, ...(job === 'source' ? [KERNEL, PORT] : [])];
  const argv = [process.execPath, program('stack-host'), ...words];
  const stack = await startJson(lab, lab.a, server, argv, START_LIMIT_MS);
  await raise(lab.a, KERNEL);
  const seconds = lab.seconds + WARM_UP_SECONDS;
  const end = job === 'sink' ? sendWords(OTHER, seconds) : sinkWords(KERNEL, seconds);
  const kernel = await startJson(lab, lab.a, client, end);
  if (job === 'source') stack.child.stdin!.write('go\n');
  await endOfJson(kernel, seconds + GRACE_SECONDS);
  return figures(await stopJson(stack));
}

/** The same from kernel to kernel; `join` starts what joins the two TUNs. */
export async function betweenKernels(lab: Lab, join: (lab: Lab) => Promise<HostProcess>): Promise<Figures> {
  const { client, server } = lab.placement;
  const joined = await join(lab);
  await Promise.all([raise(lab.a, KERNEL), raise(lab.b, OTHER)]);
  const seconds = lab.seconds + WARM_UP_SECONDS;
  const sink = await startJson(lab, lab.b, server, sinkWords(OTHER, seconds + GRACE_SECONDS));
  await endOfJson(await startJson(lab, lab.a, client, sendWords(OTHER, seconds)), seconds + GRACE_SECONDS);
  const result = await stopJson(sink);
  await stopJson(joined);
  return figures(result);
}

export const sendWords = (to: string, seconds: number, flows = 1): string[] => [
  twin('tcpgen'),
  ...['send', to, PORT, `${seconds}`, `${flows}`, '-'],
];

/** @param skip seconds after the first byte that do not count */
export const sinkWords = (at: string, seconds: number, skip = 0): string[] => [
  twin('tcpgen'),
  ...['sink', at, PORT, `${seconds}`, `${skip}`],
];

export interface Figures {
  bitsPerSecond: number;
  /** s/GB of the stack's process; NaN between kernels. */
  cpuPerGB: number;
}

export function figures({ bits_per_second, bytes, stack_cpu_s }: Record<string, number>): Figures {
  if (!(bytes! > 0)) throw new Error('nothing was carried');
  return { bitsPerSecond: bits_per_second!, cpuPerGB: (stack_cpu_s ?? Number.NaN) / (bytes! / 1e9) };
}
