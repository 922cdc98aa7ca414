/** Runs a replica of a function: reload on SIGHUP and what the function has to say, beside what every member does. */
import { closeSync, existsSync, openSync } from 'node:fs';
import { READY_MADE } from '../../chain/functions/index.ts';
import { ChainFunction, type ChainFunctionOptions } from '../../proxy/vnf/vnf.ts';
import { errorLine, usageError } from '../exit.ts';
import { suggestion } from '../suggest.ts';
import type { MemberFlags } from './options.ts';
import { MemberRun } from './run.ts';

/** @param times ns @returns the exit code */
export async function runFunction(
  settings: ChainFunctionOptions,
  flags: MemberFlags,
  times: { drain: number; quiet: number },
): Promise<number> {
  checkThatThere(settings.function);
  const vnf = new ChainFunction(settings, { warmUp: true });
  const run = new MemberRun(vnf, flags, {
    links: 'hop.function',
    signals: ['SIGINT', 'SIGTERM'],
    drain: () => vnf.drain(times.drain, times.quiet),
  });
  vnf.onLeave = () => run.completeCapture();
  vnf.on('reloaded', () => run.say('reloaded', {}));
  vnf.on('refused', (error) => run.say('not-reloaded', { reason: errorLine(error) }));
  vnf.on('replaced', (why) => run.say('replaced', { why }));
  vnf.on('app', (app, { type, ...details }) => {
    if (app === 'vnf') run.say(type, details);
    else run.note(`${app}: ${JSON.stringify({ type, ...details })}`);
  });
  const hadTerminal = hasTerminal();
  const onHangUp = () => {
    // A terminal that was closed, and not somebody who wants it anew.
    if (hadTerminal && !hasTerminal()) process.kill(process.pid, 'SIGINT');
    // What is wrong with the new one is an event.
    else void vnf.reload().catch(() => {});
  };
  process.on('SIGHUP', onHangUp);
  try {
    return await run.run();
  } finally {
    process.off('SIGHUP', onHangUp);
  }
}

/** @throws ERR_USAGE */
function checkThatThere(name: string): void {
  if (READY_MADE.has(name) || existsSync(name)) return;
  if (/[./\\]/.test(name)) throw usageError(`there is no file ${name}`, 'name one that exports a function');
  const names = [...READY_MADE.keys()];
  const near = suggestion(name, names);
  throw usageError(
    `there is no ready-made function "${name}"${near ? `; did you mean ${near}?` : ''}`,
    near ? undefined : `there are ${names.join(', ')}; a function of your own is a file`,
  );
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
