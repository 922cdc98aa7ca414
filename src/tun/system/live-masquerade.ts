/**
 * Source address translation in an nftables table of its own. Where the kernel has owned tables (Linux 5.12,
 * and an nft that can be talked to) the table belongs to an `nft -i` kept open on a pipe, and goes with it
 * even if every process of ours is killed at once.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { TunconnectorError } from '../../errors.ts';
import { NEEDS_ADMIN } from '../system-error.ts';
import { runCommand, systemEnvironment } from './live-command.ts';

export interface Masquerade {
  table: string;
  /** True when the kernel removes the table with the process that holds it. */
  owned: boolean;
  remove(): Promise<void>;
}

/**
 * Translates what comes from `prefixes` and leaves through any interface but `except`. Throws ERR_PERMISSION,
 * ERR_COMMAND.
 */
export async function startMasquerade(prefixes: readonly string[], except: string): Promise<Masquerade> {
  const taken = await tables();
  let n = 1;
  while (taken.includes(`tunconnector_${process.pid}_${n}`)) n++;
  const table = `tunconnector_${process.pid}_${n}`;
  const rules = [
    `add chain inet ${table} postrouting { type nat hook postrouting priority srcnat; policy accept; }`,
    ...prefixes.map((prefix) => {
      const family = prefix.includes(':') ? 'ip6' : 'ip';
      return `add rule inet ${table} postrouting ${family} saddr ${prefix} oifname != "${except}" masquerade`;
    }),
  ];
  const holder = await holdTable(table, [`create table inet ${table} { flags owner; }`, ...rules]);
  if (holder) return { table, owned: true, remove: () => endHolder(holder) };
  checkNft(
    await runCommand(['nft', '-f', '-'], { input: [`create table inet ${table}`, ...rules, ''].join('\n') }),
  );
  return { table, owned: false, remove: () => removeTable(table) };
}

/** Removes a table that nobody owns; it being gone is what was wanted. */
export async function removeTable(table: string): Promise<void> {
  const result = await runCommand(['nft', 'delete', 'table', 'inet', table]);
  if (!/No such file/.test(result.stderr)) checkNft(result);
}

async function tables(): Promise<string[]> {
  const result = await runCommand(['nft', 'list', 'tables']);
  checkNft(result);
  return result.stdout.split('\n').map((line) => line.replace(/^table \w+ /, ''));
}

/** Feeds lines to an interactive nft and returns it once all rules are in force; null when that fails. */
async function holdTable(table: string, lines: readonly string[]): Promise<ChildProcess | null> {
  const nft = spawn('nft', ['-i'], {
    stdio: ['pipe', 'ignore', 'pipe'],
    // It would save its history as a file at home.
    env: systemEnvironment({ ...process.env, HOME: '/nonexistent' }),
  });
  let failed = false;
  nft.once('error', () => (failed = true));
  nft.once('exit', () => (failed = true));
  nft.stderr!.once('data', () => (failed = true));
  nft.stdin!.on('error', () => {});
  nft.stdin!.write(`${lines.join('\n')}\n`);
  const wanted = lines.filter((line) => line.startsWith('add rule')).length;
  for (const end = performance.now() + 1000; !failed && performance.now() < end; await sleep(5)) {
    const { stdout } = await runCommand(['nft', 'list', 'table', 'inet', table]);
    if ((stdout.match(/ masquerade$/gm)?.length ?? 0) === wanted && stdout.includes('flags owner'))
      return nft;
  }
  await endHolder(nft);
  // An nft that does not know the flag may have made the table all the same.
  await removeTable(table);
  return null;
}

async function endHolder(nft: ChildProcess): Promise<void> {
  if (nft.exitCode !== null || nft.signalCode !== null || nft.pid === undefined) return;
  const ended = new Promise<void>((resolve) => nft.once('exit', () => resolve()));
  nft.stdin!.end();
  const timer = setTimeout(() => nft.kill('SIGKILL'), 300);
  await ended;
  clearTimeout(timer);
}

function checkNft(result: { code: number | null; stderr: string }): void {
  if (result.code === 0) return;
  const text = result.stderr.trim().split('\n')[0] ?? '';
  if (/Operation not permitted/.test(text)) {
    throw new TunconnectorError('ERR_PERMISSION', `nft: ${text}`, {
      remedy: NEEDS_ADMIN,
      errno: 'EPERM',
    });
  }
  throw new TunconnectorError('ERR_COMMAND', `nft: ${text || `exit code ${result.code}`}`, {
    remedy: 'does this kernel have nf_tables and nft_masq? Try: nft list ruleset',
  });
}
