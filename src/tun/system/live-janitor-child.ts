/**
 * The janitor: a process beside each command that changes the machine. It makes the changes it is asked for,
 * one JSON object per line of its standard input, and undoes all of them when that input ends, which is also
 * what kill -9 of the command does. In a session of its own and deaf to signals from the terminal.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { TunconnectorError } from '../../errors.ts';
import { systemEnvironment } from './live-command.ts';
import type { JanitorReply, JanitorRequest } from './live-janitor.ts';
import { Ledger } from './live-ledger.ts';

const ledger = new Ledger();
let monitor: ChildProcess | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGPIPE', 'SIGUSR2'] as const) {
  process.on(signal, () => {});
}
// Who would read the answers is gone.
process.stdout.on('error', () => {});

let work: Promise<unknown> = Promise.resolve();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    work = work.then(() => answer(JSON.parse(line) as JanitorRequest & { id: number }));
  })
  .on('close', () => {
    work = work.then(async () => {
      monitor?.kill('SIGKILL');
      await ledger.undo();
      process.exit(0);
    });
  });

async function answer(request: JanitorRequest & { id: number }): Promise<void> {
  try {
    write({ id: request.id, result: await perform(request) });
  } catch (error) {
    const { message } = error as Error;
    const { code, remedy, errno } =
      error instanceof TunconnectorError ? error : ({} as Partial<TunconnectorError>);
    write({ id: request.id, error: { code: code ?? 'ERR_COMMAND', message, remedy, errno } });
  }
}

async function perform(request: JanitorRequest): Promise<unknown> {
  switch (request.op) {
    case 'addRoute':
      return ledger.addRoute(request.route);
    case 'removeRoute':
      return ledger.removeRoute(request.route);
    case 'moveRoute':
      return ledger.moveRoute(request.from, request.to);
    case 'enableForwarding':
      return ledger.enableForwarding(request.families);
    case 'masquerade':
      return ledger.masquerade(request.prefixes, request.except);
    case 'adopt':
      await ledger.adopt(request.file);
      return ledger.describe();
    case 'watchRoutes':
      return watchRoutes();
    case 'undo':
      return ledger.undo();
  }
}

/** Tells of changes to links, addresses and routes, at most ten times a second. */
function watchRoutes(): void {
  if (monitor) return;
  const argv = ['--pdeathsig', 'KILL', 'ip', 'monitor', 'link', 'address', 'route'];
  monitor = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'ignore'], env: systemEnvironment() });
  monitor.once('error', () => {});
  let pending = false;
  monitor.stdout!.on('data', () => {
    if (pending) return;
    pending = true;
    setTimeout(() => {
      pending = false;
      write({ event: 'routes' });
    }, 100).unref();
  });
}

function write(reply: JanitorReply): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
