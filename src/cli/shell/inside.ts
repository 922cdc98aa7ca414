/**
 * A TUN in the command's network namespace, where only its user namespace gives the power to make one: a process inside of
 * both makes it, sets it up, and hands its descriptor over. It is this module, run by node.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TunconnectorError } from '../../errors.ts';
import { native } from '../../native/load.ts';
import type { HandedTun } from '../../tun/handed-tun.ts';
import { missingCommand, systemEnvironment } from '../../tun/system/live-command.ts';
import { configureInterface } from '../../tun/system/live-ip.ts';

export interface InsideSettings {
  name: string;
  addresses: string[];
  routes: string[];
  mtu: number;
  txQueueLength: number;
}

/** Where the process inside has the socket. */
const SOCKET = 3;

/** @param pid of the process that waits in the namespaces @throws ERR_INTERFACE, ERR_COMMAND */
export async function tunInside(pid: number, settings: InsideSettings): Promise<HandedTun> {
  const [here, there] = native().tunPair();
  try {
    const words = ['--user', '--preserve-credentials', '--net', '--target', String(pid), '--'];
    const node = [
      process.execPath,
      ...process.execArgv,
      fileURLToPath(import.meta.url),
      JSON.stringify(settings),
    ];
    const child = spawn('nsenter', [...words, ...node], {
      stdio: ['ignore', 'pipe', 'pipe', there],
      env: systemEnvironment(process.env),
    });
    let [said, complaint] = ['', ''];
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', (error) => reject(missingCommand('nsenter', error)));
      child.once('close', resolve);
    });
    if (code !== 0) {
      const why = complaint.trim().split('\n').at(-1) || `nsenter ended with ${code}`;
      throw new TunconnectorError('ERR_INTERFACE', `the command's interface cannot be made (${why})`);
    }
    return { ...(JSON.parse(said) as HandedTun), fd: native().descriptorReceive(here) };
  } finally {
    native().close(here);
    native().close(there);
  }
}

/** What the process inside does. */
async function makeInside({ name, routes, ...settings }: InsideSettings): Promise<void> {
  const wanted = { mode: 'tun', offload: true, multiQueue: false, exclusive: true, netns: '' } as const;
  const handle = native().tunOpen({ name, ...wanted });
  await configureInterface({ name: 'lo', up: true });
  await configureInterface({
    ...{ name, ...settings, up: true, addressGeneration: 'none' },
    routes: routes.map((prefix) => ({ prefix })),
  });
  native().descriptorSend(SOCKET, handle.fd);
  process.stdout.write(JSON.stringify(handle));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  makeInside(JSON.parse(process.argv[2]!) as InsideSettings).catch((error: Error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  });
}
