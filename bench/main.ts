/** `npm run bench`: the command line of the harness. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { chart } from './harness/chart.ts';
import { machineFacts } from './harness/machine.ts';
import { FREE, pinned } from './harness/placement.ts';
import { Progress } from './harness/progress.ts';
import { parseResult, RESULT_VERSION, type Result, serializeResult } from './harness/result.ts';
import { type Measured, runExperiments, selectExperiments } from './harness/rounds.ts';
import { summaryText } from './harness/summary.ts';
import { judge } from './harness/verdict.ts';
import { SUITES } from './suites/index.ts';

/** Exit codes: a bar was missed or something failed; the command line was wrong; ended by Ctrl-C. */
const MISSED = 1;
const USAGE = 2;
const INTERRUPTED = 130;

interface Options {
  rounds: number;
  seconds: number;
  only?: RegExp;
  free?: boolean;
  fail: boolean;
  json?: string;
  chart?: string;
  list?: boolean;
}

/** @returns the exit code */
export async function main(argv: readonly string[]): Promise<number> {
  let code = 0;
  const program = new Command('npm run bench --')
    .description('Measures tunconnector beside C programs that do the same, and beside others, in one run.')
    .exitOverride()
    .showHelpAfterError('(--help shows the options)')
    .argument('<suites...>', `${Object.keys(SUITES).join(', ')}, or all`, suiteNames)
    .option('--rounds <n>', 'paired rounds, after one that is dropped', wholeNumber, 9)
    .option('--seconds <s>', 'of traffic for each figure', positive, 3)
    .option('--only <pattern>', 'regular expression for suite/title/subject', regularExpression)
    .option('--free', 'let the scheduler choose the processors')
    .option('--no-fail', 'exit with 0 also when a bar is missed')
    .option('--json <file>', 'write everything that was measured')
    .option('--chart <file>', 'draw the chart of the README (SVG)')
    .option('--list', 'show what would be measured, and measure nothing')
    .addHelpText(
      'after',
      `\nSuites:\n${Object.entries(SUITES)
        .map(([name, { help }]) => `  ${name.padEnd(10)}${help}`)
        .join('\n')}`,
    )
    .action(async (suites: string[], options: Options) => {
      code = await measure(suites, options);
    });
  program
    .command('chart <result> <file>')
    .description('draws the chart of a result that --json has written')
    .action(async (result: string, file: string) => {
      await writeFile(file, chart(parseResult(await readFile(result, 'utf8'))));
    });
  program
    .command('table <result>')
    .description('shows the table of a result that --json has written')
    .action(async (file: string) => {
      const result = parseResult(await readFile(file, 'utf8'));
      process.stdout.write(summaryText(result, judge(result)));
    });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    const {
      code: kind = '',
      exitCode,
      message,
    } = error as { code?: string; exitCode?: number; message: string };
    if (kind.startsWith('commander.')) return exitCode === 0 ? 0 : USAGE;
    process.stderr.write(`bench: ${message}\n`);
    return MISSED;
  }
}

async function measure(suites: string[], options: Options): Promise<number> {
  const { rounds, seconds, only } = options;
  const all = suites.flatMap((name) => SUITES[name]!.experiments(seconds));
  const experiments = selectExperiments(all, only);
  if (experiments.length === 0) {
    throw new Error(`nothing matches ${only}: --list without --only shows what there is`);
  }
  if (options.list) {
    for (const { suite, title, visits } of experiments) {
      for (const { subject } of visits) process.stdout.write(`${suite}/${title}/${subject}\n`);
    }
    return 0;
  }
  const machine = await machineFacts();
  const progress = new Progress(process.stderr);
  if (machine.load > machine.cores / 2) {
    progress.note(`the machine is busy (load ${machine.load.toFixed(1)}): trust ratios, not figures`);
  }
  const { measured, interrupted } = await withScratch(async (scratch, signal) => ({
    measured: await runExperiments(experiments, {
      rounds,
      context: { placement: options.free ? FREE : pinned(), seconds, scratch, signal },
      progress,
    }),
    interrupted: signal.aborted,
  }));
  progress.clear();
  const result: Result = {
    version: RESULT_VERSION,
    machine,
    options: { suites, rounds, seconds, pinned: !options.free, only: only?.source },
    ...(measured satisfies Measured),
    interrupted,
  };
  const rows = judge(result);
  process.stdout.write(summaryText(result, rows));
  if (options.json) await writeFile(options.json, serializeResult(result));
  if (options.chart) await writeFile(options.chart, chart(result));
  if (interrupted) return INTERRUPTED;
  return options.fail && rows.some(({ verdict }) => verdict === 'missed') ? MISSED : 0;
}

/**
 * A directory in memory for files, and a signal for Ctrl-C: the first ends what runs and shows what was measured, the
 * second ends at once (the hosts end with this process).
 */
async function withScratch<T>(work: (scratch: string, signal: AbortSignal) => Promise<T>): Promise<T> {
  const base = await mkdtemp('/dev/shm/tunconnector-bench-').catch(() =>
    mkdtemp(path.join(tmpdir(), 'tunconnector-bench-')),
  );
  const abort = new AbortController();
  const clean = () => rm(base, { recursive: true, force: true });
  const stop = () => {
    if (abort.signal.aborted) void clean().finally(() => process.exit(INTERRUPTED));
    else abort.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await work(base, abort.signal);
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    await clean();
  }
}

/** Called with each name, and with what the earlier ones have come to. */
function suiteNames(name: string, previous: string[] | undefined): string[] {
  if (name === 'all') return Object.keys(SUITES);
  if (!Object.hasOwn(SUITES, name)) {
    throw new InvalidArgumentError(`There is ${Object.keys(SUITES).join(', ')}, or all.`);
  }
  return [...new Set([...(previous ?? []), name])];
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000)
    throw new InvalidArgumentError('From 1 to 1000.');
  return value;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value >= 0.5 && value <= 600)) throw new InvalidArgumentError('From 0.5 to 600.');
  return value;
}

function regularExpression(text: string): RegExp {
  try {
    return new RegExp(text, 'i');
  } catch {
    throw new InvalidArgumentError('A regular expression.');
  }
}
