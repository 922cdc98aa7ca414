/** The command, as users start it. */
import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import type { Host, HostProcess } from 'tunconnector/testing';
import { INNER, INNER_MTU, type Lab, OUTER } from '../harness/lab.ts';
import { COMMAND } from '../harness/root.ts';
import { between, type Subject, type Tunnel } from './subject.ts';

export interface OursOptions {
  name: string;
  /** Words for both ends. */
  words?: readonly string[];
  /** Further words for the client, which is on host a. */
  clientWords?: (lab: Lab) => readonly string[];
  /** Options of Node itself, for both ends. */
  nodeWords?: readonly string[];
}

const START_LIMIT_MS = 15_000;
const STOP_GRACE_MS = 5_000;

export const worker = ours({ name: 'ours, worker', words: ['--thread', 'worker'] });
export const main = ours({ name: 'ours, main', words: ['--thread', 'main'] });
export const plain = ours({
  name: 'ours, no offloads',
  words: ['--thread', 'worker', '--no-gso', '--no-gro', '--no-vnet-hdr'],
});

export function ours(options: OursOptions): Subject {
  return { name: options.name, start: (lab) => startOurs(lab, options) };
}

async function startOurs(
  lab: Lab,
  { words = [], clientWords = () => [], nodeWords = [] }: OursOptions,
): Promise<Tunnel> {
  // Control sockets of these two ends, and nobody else's.
  const env = { ...process.env, XDG_RUNTIME_DIR: await mkdtemp(path.join(lab.scratch, 'run-')) };
  const start = async (
    host: Host,
    cpu: number | undefined,
    more: readonly string[],
  ): Promise<HostProcess> => {
    const argv = [process.execPath, ...nodeWords, COMMAND, ...more, '--mtu', `${INNER_MTU}`, ...words];
    const started = lab.spawn(host, cpu, argv, { env });
    await started.waitFor(/ is up: |"event":"up"/, START_LIMIT_MS);
    return started;
  };
  const addresses = (v4: string, v6: string) => `${v4}/24,${v6}/64`;
  const b = await start(lab.b, lab.placement.tunnelB, [
    ...['--mode', 'server', '-p', 'tun0', '-i', '55555', '-s', addresses(INNER.b, INNER.b6)],
  ]);
  const a = await start(lab.a, lab.placement.tunnelA, [
    ...['--mode', 'client', '-n', 'tun0', '-o', '55555', '-r', OUTER.b, '-c', addresses(INNER.a, INNER.a6)],
    ...clientWords(lab),
  ]);
  const tunnel = between(a, b);
  return {
    ...tunnel,
    async stop() {
      for (const end of [a, b]) {
        const { code, signal } = await end.stop('SIGTERM', STOP_GRACE_MS);
        if (code !== 0) throw new Error(`it ended with ${code ?? signal}: ${end.stderr.trim()}`);
      }
    },
  };
}
