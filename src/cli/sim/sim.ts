/** `tunconnector sim`: whole networks in one process, in virtual time, from a file. */
import { Argument, Command, Option } from 'commander';
import { duration } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { FAULT_KINDS, type FaultKind, MOST_WORKERS } from '../../sim/index.ts';
import { usageError } from '../exit.ts';
import { SIM_ACTIONS } from './actions.ts';
import { checkDeterminism } from './determinism.ts';
import { exploreSimulation } from './explore.ts';
import { runSimulation } from './run.ts';
import { traceSimulation } from './trace.ts';

interface Flags {
  seed?: string;
  for?: string;
  out?: string;
  every: string;
  json?: boolean;
  checkDeterminism?: boolean;
  trace?: boolean;
  seeds?: string;
  kinds?: string;
  count?: string;
  check?: string;
  failures?: string;
  workers?: string;
}

/** Flags of one action alone. */
const OF_RUN = ['seed', 'out', 'checkDeterminism', 'trace'] as const;
const OF_EXPLORE = ['seeds', 'kinds', 'count', 'check', 'failures', 'workers'] as const;

export function simCommand(done: (code: number) => void = (code) => void (process.exitCode = code)): Command {
  const command = new Command('tunconnector sim')
    .description('Runs a network of many hosts in one process, in virtual time.')
    .usage('run|explore FILE [options]')
    .addArgument(new Argument('<action>', SIM_ACTIONS.join(', ')))
    .addArgument(
      new Argument('<file>', 'hosts, switches, links, flows, programs and faults, in YAML or JSON'),
    );
  const option = (group: string) => (flags: string, help: string, usual?: string) => {
    const each = new Option(flags, help).helpGroup(`${group}:`);
    command.addOption(usual === undefined ? each : each.default(usual));
  };
  const what = option('What runs');
  what('--seed <n>', 'of everything that is drawn (that of the file)');
  what('--for <time>', 'how much virtual time passes, 10s (that of the file)');
  const search = option('explore');
  search('--seeds <range>', 'which seeds, 1..1000 (1..100)');
  search('--kinds <list>', `faults that each seed draws, or none (all): ${FAULT_KINDS.join(', ')}`);
  search('--count <range>', 'how many it draws (1..4)');
  search('--check <module>', 'exports check(sim) or always(sim), which throw when something is wrong');
  search('--failures <n>', 'ends after so many that fail (1)');
  search('--workers <n>', 'processes that run seeds (as many as there are processors)');
  what('--check-determinism', 'run it twice, each in a process of its own, and say where they first differ');
  const comes = option('What comes of it');
  comes('--out <directory>', 'a pcapng for each link, logs, and series of the flows as CSV and SVG');
  comes('--every <time>', 'how often the flows are looked at, for --out', '100ms');
  comes('--json', 'one JSON object instead of the tables');
  command.addOption(new Option('--trace', 'every event as a line').hideHelp());
  return command
    .addHelpText(
      'after',
      `
The same file and seed give the same run, packet by packet.

Examples:
  tunconnector sim run lab.yaml
  tunconnector sim run lab.yaml --seed 7 --for 5min --out results
  tunconnector sim run lab.yaml --json | jq .flows
  tunconnector sim run lab.yaml --check-determinism
  tunconnector sim explore lab.yaml --seeds 1..1000 --kinds crash,loss`,
    )
    .action(async (action: string, file: string, flags: Flags) => {
      if (action !== 'run' && action !== 'explore')
        throw usageError(`found "sim ${action}", expected sim ${SIM_ACTIONS.join(' or ')}`);
      const foreign = (action === 'run' ? OF_EXPLORE : OF_RUN).find((flag) => flags[flag] !== undefined);
      if (foreign !== undefined) {
        const flag = `--${foreign.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
        throw usageError(`${flag} does not go with sim ${action}`, 'leave it out');
      }
      const { seed: digits, for: span, every, out, json = false } = flags;
      const seed = digits === undefined ? undefined : seedOf(digits);
      const time = span === undefined ? undefined : timeOf('--for', span);
      const given = { file, ...(seed !== undefined && { seed }), ...(time !== undefined && { time }) };
      if (action === 'explore') {
        done(
          await exploreSimulation({
            ...{ file, json, ...(time !== undefined && { time }) },
            seeds: rangeOf('--seeds', flags.seeds ?? '1..100'),
            kinds: kindsOf(flags.kinds),
            count: rangeOf('--count', flags.count ?? '1..4'),
            failures: rangeOf('--failures', flags.failures ?? '1')[0],
            ...(flags.check !== undefined && { check: flags.check }),
            ...(flags.workers !== undefined && { workers: workersOf(flags.workers) }),
          }),
        );
      } else if (flags.trace) done(await traceSimulation(given));
      else if (flags.checkDeterminism) {
        if (out !== undefined)
          throw usageError('--out does not go with --check-determinism', 'leave one out');
        done(await checkDeterminism(given, json));
      } else
        done(
          await runSimulation({
            ...given,
            every: timeOf('--every', every),
            json,
            ...(out !== undefined && { out }),
          }),
        );
    });
}

function seedOf(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(seed)) return seed;
  throw usageError(`--seed: found "${text}", expected a whole number`);
}

/** `1..1000`, or one number. */
function rangeOf(flag: string, text: string): [number, number] {
  const [, first, second = first] = /^(\d{1,9})(?:\.\.(\d{1,9}))?$/.exec(text) ?? [];
  if (first !== undefined && Number(first) <= Number(second) && Number(second) > 0)
    return [Number(first), Number(second)];
  throw usageError(`${flag}: found "${text}", expected a range such as 1..100`);
}

function workersOf(text: string): number {
  const workers = Number(text);
  if (/^\d{1,3}$/.test(text) && workers >= 1 && workers <= MOST_WORKERS) return workers;
  throw usageError(`--workers: found "${text}", expected 1 to ${MOST_WORKERS}`);
}

function kindsOf(text: string | undefined): FaultKind[] {
  if (text === undefined) return [...FAULT_KINDS];
  if (text === 'none') return [];
  return text.split(',').map((kind) => {
    const known = FAULT_KINDS.find((each) => each === kind);
    if (known) return known;
    throw usageError(`--kinds: found "${kind}", expected none or some of ${FAULT_KINDS.join(', ')}`);
  });
}

function timeOf(flag: string, text: string): number {
  try {
    const time = duration(text);
    if (time > 0 && Number.isSafeInteger(time)) return time;
  } catch (error) {
    if (!(error instanceof TunconnectorError)) throw error;
  }
  throw usageError(`${flag}: found "${text}", expected a time such as 10s`);
}
