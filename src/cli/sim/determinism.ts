/** Whether a simulation is the same in two processes, and if not, which event is the first that differs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { TunconnectorError } from '../../errors.ts';
import { Exit } from '../exit.ts';
import { grouped } from '../format.ts';
import type { Given } from './run.ts';

export interface Difference {
  /** Number of the event. */
  event: number;
  /** World time: ns. */
  at: number;
  /** The host or link; empty: the simulation. */
  where: string;
  /** In the first run, and in the second; undefined: it had ended. */
  first: string | undefined;
  second: string | undefined;
}

/** @returns the exit code: 1 when they differ */
export async function checkDeterminism(given: Given, json: boolean): Promise<number> {
  const { lines, difference } = await compareRuns(given);
  if (json)
    process.stdout.write(`${JSON.stringify({ same: !difference, observations: lines, difference })}\n`);
  else if (!difference)
    process.stdout.write(`the same in two processes: ${grouped(lines)} events, packets and log lines\n`);
  else {
    const { event, at, where, first, second } = difference;
    process.stdout.write(
      `the two runs differ at event ${event}, ${(at / 1e9).toFixed(9)} s, ${where || 'the simulation'}:\n` +
        `  first:  ${first ?? 'has ended'}\n  second: ${second ?? 'has ended'}\n` +
        'what a program takes from the machine instead of its runtime (time, chance, files) is not repeated\n',
    );
  }
  return difference ? Exit.failure : Exit.ok;
}

async function compareRuns(given: Given): Promise<{ lines: number; difference: Difference | undefined }> {
  const runs = [new Run(given), new Run(given)] as const;
  try {
    for (let lines = 0; ; lines++) {
      const [first, second] = await Promise.all([runs[0].next(), runs[1].next()]);
      if (first === undefined && second === undefined) {
        await Promise.all(runs.map((run) => run.ended()));
        return { lines, difference: undefined };
      }
      if (first === second) continue;
      // One that failed differs for that reason.
      for (const [run, line] of [
        [runs[0], first],
        [runs[1], second],
      ] as const)
        if (line === undefined) await run.ended();
      return { lines, difference: differenceOf(first, second) };
    }
  } finally {
    for (const run of runs) run.stop();
  }
}

function differenceOf(first: string | undefined, second: string | undefined): Difference {
  const parts = [first, second].map((line) => /^(\d+) (\d+) (\S+) (.*)$/.exec(line ?? ''));
  const [a, b] = parts;
  const from = a && b ? (Number(b[1]) < Number(a[1]) ? b : a) : (a ?? b);
  const [, event = '0', at = '0', where = '-'] = from ?? [];
  const same = a && b && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
  const shown = (part: RegExpExecArray | null | undefined) =>
    part
      ? same
        ? part[4]
        : `event ${part[1]} at ${Number(part[2]) / 1e9} s, ${part[3]}: ${part[4]}`
      : undefined;
  const place = where === '-' ? '' : where;
  return { event: Number(event), at: Number(at), where: place, first: shown(a), second: shown(b) };
}

class Run {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exit: Promise<unknown[]>;
  #said = '';

  constructor({ file, seed, time }: Given) {
    const flags = [
      ...(seed === undefined ? [] : ['--seed', String(seed)]),
      ...(time === undefined ? [] : ['--for', `${time}ns`]),
    ];
    const argv = [...process.execArgv, process.argv[1]!, 'sim', 'run', file, ...flags, '--trace'];
    this.#child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stderr!.on('data', (text) => (this.#said += text));
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    this.#exit = once(this.#child, 'close');
  }

  /** Undefined at the end. */
  async next(): Promise<string | undefined> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : value;
  }

  /** @throws what it says of why it did not come to its end */
  async ended(): Promise<void> {
    const [code] = await this.#exit;
    if (code === 0) return;
    const [why] = this.#said.replace(/^tunconnector: /, '').split('\n');
    throw new TunconnectorError(
      code === Exit.usage ? 'ERR_CONFIG' : 'ERR_COMMAND',
      why || 'a run ended early',
    );
  }

  stop(): void {
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
  }
}
