/**
 * A simulation as the body of a test. What fails in it says where: seed, time, event and host, and the command that runs it up to the event
 * before, where a debugger stops.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { failureOf, whereOf } from './failure.ts';
import { Simulation, type SimulationOptions } from './simulation.ts';
import type { Topology } from './topology/topology.ts';

/** `SEED` or `SEED:EVENT`: run by this seed, and stop before it goes on from this event. */
export const REPLAY = 'TUNCONNECTOR_SIM_REPLAY';

/**
 * Makes a network, runs `body` with it, and takes it down. An error that the body throws, an assertion among them, is the same error with the
 * place in the simulation at the end of its message.
 *
 * @param network topology, programs and faults
 * @throws what `body` throws; ERR_CONFIG, ERR_ADDRESS, ERR_LIMIT for a network that does not fit
 * @example
 * it('answers', () =>
 *   simulate({ seed: 7, hosts, links }, async (net) => {
 *     const ping = net.host('a').stack.ping('10.0.0.2');
 *     await net.run('1s');
 *     expect(await ping).toMatchObject({ result: 'reply' });
 *   }));
 */
export async function simulate<T>(
  { programs, faults, ...topology }: Topology & SimulationOptions,
  body: (net: Simulation) => T | Promise<T>,
): Promise<T> {
  const [seed, event] = (process.env[REPLAY] ?? '')
    .split(':')
    .map((text) => (text === '' ? undefined : Number(text)));
  const written = { ...topology, ...(seed !== undefined && { seed }) };
  await using net = await Simulation.start(written, {
    ...(programs && { programs }),
    ...(faults && { faults }),
  });
  if (event !== undefined) {
    net.breakOn((sim) => {
      if (sim.events !== event) return false;
      // biome-ignore lint/suspicious/noDebugger: this is where whoever replays wants to stop
      debugger;
      return false;
    });
  }
  try {
    return await body(net);
  } catch (error) {
    const failure = failureOf(net, error);
    const where = `in the simulation: ${whereOf(failure)}`;
    const replay = `${REPLAY}=${failure.seed}:${Math.max(0, failure.event - 1)} ${commandOf(failure.error)}`;
    const log = net.log
      .slice(-5)
      .map(({ at, host, text }) => `  ${at / 1e9} s ${host ? `${host}: ` : ''}${text}`);
    const lines = [
      failure.error.message,
      '',
      where,
      ...log,
      `up to the event before, with a debugger: ${replay}`,
    ];
    failure.error.message = lines.join('\n');
    throw failure.error;
  }
}

/** Of this package; its code is in two folders of it. */
const PACKAGE = path.resolve(import.meta.dirname, '..', '..');
const OWN = ['src', 'dist'].map((folder) => path.join(PACKAGE, folder) + path.sep);
const TEST = /\.(test|spec)\.[cm]?[jt]sx?$/;

/** How the test that threw is run under a debugger: the test file of the stack, or else the first file that is not of this package. */
function commandOf({ stack = '' }: Error): string {
  const files: string[] = [];
  for (const [, place = ''] of stack.matchAll(/^\s*at (?:.* \()?((?:file:\/\/)?\/.*?):\d+:\d+\)?$/gm)) {
    const file = place.startsWith('file:') ? fileURLToPath(place) : place;
    if (!OWN.some((folder) => file.startsWith(folder)) && !file.includes('/node_modules/')) files.push(file);
  }
  const running = runningTest();
  const test = running?.file ?? files.find((file) => TEST.test(file));
  const [first] = files;
  if (first !== undefined && test === undefined)
    return `node --inspect-brk ${quoted(path.relative('.', first))}`;
  const parts = ['npx vitest run --inspect-brk --no-file-parallelism'];
  if (test !== undefined) parts.push(quoted(path.relative('.', test)));
  // Others in the file would stop, too.
  if (running) parts.push('-t', quoted(running.name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  return parts.join(' ');
}

interface VitestWorker {
  current?: { name?: unknown; file?: { filepath?: unknown } };
}

/** What vitest is running; undefined: nothing, as far as is known. */
function runningTest(): { name: string; file: string } | undefined {
  const { current } = (globalThis as { __vitest_worker__?: VitestWorker }).__vitest_worker__ ?? {};
  const [name, file] = [current?.name, current?.file?.filepath];
  return typeof name === 'string' && typeof file === 'string' ? { name, file } : undefined;
}

/** As a shell takes it for one word. */
const quoted = (text: string): string =>
  /^[\w./@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
