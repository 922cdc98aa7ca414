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
/** Behind losses one connection is luck: so many at once make a mean. */
const FLOWS = 8;
/** As a shell's. */
const QUEUE_LENGTH = 2000;
/** Compiling, on a busy machine. */
const START_LIMIT_MS = 20_000;
const GRACE_SECONDS = 20;
/** What the stack does not count: its first second, and the time until the first byte comes. */
const WARM_UP_SECONDS = 1.5;

/** Both sides send with the same congestion control, whatever the machine's own is. */
export async function raise(host: Host, address: string): Promise<void> {
  await host.ip([
    `link set dev tun0 mtu ${MTU} txqueuelen ${QUEUE_LENGTH} up`,
    `addr add ${address}/24 dev tun0`,
    `route replace 10.9.0.0/24 dev tun0 src ${address} congctl cubic`,
  ]);
}

export type Form = 'whole' | 'cut';
export type Api = 'calls' | 'socket';

/** Bytes per second that a stack takes, or gets to a kernel, over a TUN. */
export async function withStack(
  lab: Lab,
  { api, form, job, spec }: { api: Api; form: Form; job: 'sink' | 'source'; spec?: string },
): Promise<Figures> {
  const { client, server } = lab.placement;
  const words = [
    MTU,
    form,
    api,
    job,
    ...(job === 'source' ? [KERNEL, PORT] : []),
    ...(spec ? [spec, `${FLOWS}`] : []),
  ];
  const argv = [process.execPath, program('stack-host'), ...words];
  const stack = await startJson(lab, lab.a, server, argv, START_LIMIT_MS);
  await raise(lab.a, KERNEL);
  const seconds = lab.seconds + WARM_UP_SECONDS;
  const kernel = await startJson(
    lab,
    lab.a,
    client,
    kernelWords(job === 'sink' ? 'send' : 'sink', seconds, OTHER),
  );
  if (job === 'source') stack.child.stdin!.write('go\n');
  const seen = await endOfJson(kernel, seconds + GRACE_SECONDS);
  const said = await stopJson(stack);
  // Behind losses both are judged by what a kernel has got since the first byte.
  return figures(spec ? seen : said);
}

/** The same from kernel to kernel; `join` starts what joins the two TUNs. */
export async function betweenKernels(
  lab: Lab,
  lossy: boolean,
  join: (lab: Lab) => Promise<HostProcess>,
): Promise<Figures> {
  const { client, server } = lab.placement;
  const joined = await join(lab);
  await Promise.all([raise(lab.a, KERNEL), raise(lab.b, OTHER)]);
  const seconds = lab.seconds + WARM_UP_SECONDS;
  const sink = await startJson(lab, lab.b, server, [
    twin('tcpgen'),
    'sink',
    OTHER,
    PORT,
    `${seconds + GRACE_SECONDS}`,
  ]);
  const send = await startJson(lab, lab.a, client, kernelWords('send', seconds, OTHER, lossy ? FLOWS : 1));
  await endOfJson(send, seconds + GRACE_SECONDS);
  const result = await stopJson(sink);
  await stopJson(joined);
  return figures(result);
}

function kernelWords(job: 'send' | 'sink', seconds: number, to: string, flows = 1): string[] {
  const argv = [twin('tcpgen'), job, job === 'send' ? to : KERNEL, PORT, `${seconds}`];
  return job === 'send' ? [...argv, `${flows}`, '-'] : argv;
}

export interface Figures {
  bitsPerSecond: number;
  /** s/GB of the stack's process; NaN between kernels. */
  cpuPerGB: number;
}

function figures({ bits_per_second, bytes, stack_cpu_s }: Record<string, number>): Figures {
  if (!(bytes! > 0)) throw new Error('nothing was carried');
  return { bitsPerSecond: bits_per_second!, cpuPerGB: (stack_cpu_s ?? Number.NaN) / (bytes! / 1e9) };
}
