/** Two hosts joined by a wire, and the built command on them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  createWorld,
  type Host,
  type HostProcess,
  type World,
  type WorldOptions,
} from '../../src/testing/index.ts';

export const BIN = fileURLToPath(new URL('../../bin/tunconnector.js', import.meta.url));

export const SERVER = '192.168.6.9';
export const CLIENT = '192.168.6.8';

export interface TwoHosts extends AsyncDisposable {
  world: World;
  server: Host;
  client: Host;
}

export async function twoHosts(options: WorldOptions & { mtu?: number } = {}): Promise<TwoHosts> {
  const world = await createWorld({ name: 'cli', ...options });
  const [server, client] = await Promise.all([world.host('server'), world.host('client')]);
  await world.wire(server, client, {
    a: [`${SERVER}/24`, 'fd06::9/64'],
    b: [`${CLIENT}/24`, 'fd06::8/64'],
    ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
  });
  return { world, server, client, [Symbol.asyncDispose]: () => world.close() };
}

/** Starts `tunconnector` on a host; the words as a person would type them. */
export const tunconnector = (host: Host, words: string): HostProcess =>
  host.node(BIN, words.split(' ').filter(Boolean));

/** Runs it to its end, which has to come by itself. */
export async function runToEnd(host: Host, words: string, within = 30_000) {
  const process = tunconnector(host, words);
  const timer = setTimeout(() => process.kill('SIGKILL'), within);
  const { code } = await process.ended;
  clearTimeout(timer);
  return { code, stdout: process.stdout, stderr: process.stderr };
}

export const pings = async (host: Host, to: string, ...more: string[]) =>
  (await host.exec(['ping', '-c', '2', '-i', '0.1', '-W', '2', ...more, to])).code === 0;

/** /sys shows the interfaces of whoever mounted it. */
export async function interfaceMtu(host: Host, name: string): Promise<number> {
  const { stdout } = await host.exec(['ip', '-j', 'link', 'show', 'dev', name], { check: true });
  return (JSON.parse(stdout) as [{ mtu: number }])[0].mtu;
}

/** Repeats until it holds; the last answer otherwise. */
export async function until(condition: () => Promise<boolean> | boolean, within = 15_000): Promise<boolean> {
  for (const end = performance.now() + within; performance.now() < end; await sleep(50))
    if (await condition()) return true;
  return condition();
}

export async function scratchDirectory() {
  const path = await mkdtemp(`${tmpdir()}/tunconnector-cli-`);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
