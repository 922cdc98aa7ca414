/**
 * What one janitor changed, written down in a file, for two readers: another janitor in the same network
 * namespace, which must not restore a setting that this one still needs, and `doctor --clean`, when the
 * janitor itself was killed.
 *
 * A record is `<namespace inode>-<pid>.json` in /run/tunconnector, or where that cannot be written (user
 * namespaces) in a directory of the user's own. It is there exactly as long as there is something to undo.
 */

import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RouteSpec, routeArguments } from './live-ip.ts';

/** One thing that was changed and how to undo it. */
export type Change =
  | { kind: 'route'; route: RouteSpec }
  /** An nftables table that the kernel does not remove by itself. */
  | { kind: 'table'; name: string }
  /**
   * A sysctl below /proc/sys/net. `side` lists settings that Linux changes along with it, as they were; they
   * are restored after `key`, in order.
   */
  | { kind: 'sysctl'; key: string; from: string; to: string; side: [key: string, value: string][] };

export interface ChangeRecord {
  /** Of the kernel's boot: process ids and inodes mean nothing in the next. */
  boot: string;
  /** Inode of the network namespace. */
  netns: number;
  /** The janitor. */
  pid: number;
  /** Its start, in clock ticks since boot: a process id may be used again. */
  started: string;
  /** In the order in which they were made. */
  changes: Change[];
}

export interface StoredRecord extends ChangeRecord {
  file: string;
}

/** One line for people. */
export function describeChange(change: Change): string {
  if (change.kind === 'route') return `route ${routeArguments(change.route)}`;
  if (change.kind === 'table') return `nftables table inet ${change.name}`;
  return `sysctl net.${change.key.replaceAll('/', '.')} (was ${change.from})`;
}

export function newRecord(): ChangeRecord {
  return {
    boot: bootId(),
    netns: statSync('/proc/self/ns/net').ino,
    pid: process.pid,
    started: startTime(process.pid)!,
    changes: [],
  };
}

/** Writes a record, or removes it when it has no changes left. */
export function saveRecord(record: ChangeRecord): void {
  const name = `${record.netns}-${record.pid}.json`;
  if (record.changes.length === 0) {
    for (const directory of directories()) removeRecord(`${directory}/${name}`);
    return;
  }
  for (const directory of directories()) {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        mkdirSync(directory, { mode: 0o755 });
      } catch {
        // It exists, or cannot be made: writing will tell.
      }
      if (!trusted(directory)) break;
      try {
        writeFileSync(`${directory}/.${name}`, JSON.stringify(record), { mode: 0o644 });
        renameSync(`${directory}/.${name}`, `${directory}/${name}`);
        return;
      } catch (error) {
        // Another janitor may have removed the directory with its own last record just now.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') break;
      }
    }
  }
  // Without a place for the record the changes are still undone; only the two readers above miss out.
}

export function removeRecord(file: string): void {
  rmSync(file, { force: true });
  try {
    rmdirSync(file.slice(0, file.lastIndexOf('/')));
  } catch {
    // Others are still in it, or it was never there.
  }
}

/** All records of this boot. Those of an earlier one describe a system that is gone, and are removed. */
export function readRecords(): StoredRecord[] {
  const boot = bootId();
  const records: StoredRecord[] = [];
  for (const directory of directories()) {
    if (!trusted(directory)) continue;
    for (const name of listFiles(directory)) {
      if (!/^\d+-\d+\.json$/.test(name)) continue;
      const file = `${directory}/${name}`;
      const record = readRecord(file);
      if (record?.boot === boot) records.push({ ...record, file });
      else if (record) removeRecord(file);
    }
  }
  return records;
}

/** Empty when the last janitor to leave has just removed the directory. */
function listFiles(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Null when it is gone or was cut short. */
export function readRecord(file: string): ChangeRecord | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ChangeRecord;
  } catch {
    return null;
  }
}

/** Whether the janitor that wrote a record is still there. */
export function isLive(record: ChangeRecord): boolean {
  return startTime(record.pid) === record.started;
}

/**
 * Runs `work` while no other janitor of this network namespace does. The lock is an abstract Unix socket: its
 * names are per network namespace, and the kernel frees them when the process ends, however it ends. Goes
 * ahead without the lock after `limit` ms: undoing must not wait for somebody who hangs.
 */
export async function withLock<T>(work: () => Promise<T> | T, limit = 2000): Promise<T> {
  const server = createServer();
  const end = performance.now() + limit;
  while (!(await tryListen(server)) && performance.now() < end) await sleep(5);
  try {
    return await work();
  } finally {
    await new Promise<void>((resolve) => (server.listening ? server.close(() => resolve()) : resolve()));
  }
}

function tryListen(server: ReturnType<typeof createServer>): Promise<boolean> {
  return new Promise((resolve) => {
    const failed = () => resolve(false);
    server.once('error', failed);
    server.listen('\0tunconnector-changes', () => {
      server.off('error', failed);
      resolve(true);
    });
  });
}

/** Where records may be, the preferred place first. */
function directories(): string[] {
  const own = process.env.XDG_RUNTIME_DIR;
  return [
    '/run/tunconnector',
    ...(own?.startsWith('/') ? [`${own}/tunconnector`] : []),
    `${tmpdir()}/tunconnector-${outerUserId()}`,
  ];
}

/** Records say what to run with our privileges, so only a directory that nobody else can write to will do. */
function trusted(directory: string): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return !!stat?.isDirectory() && stat.uid === process.geteuid!() && !(stat.mode & 0o022);
}

/** This user's id outside of all user namespaces one level up: everybody is 0 in a namespace of their own. */
function outerUserId(): number {
  const uid = process.geteuid!();
  for (const line of readFileSync('/proc/self/uid_map', 'latin1').trim().split('\n')) {
    const [inside, outside, count] = line.trim().split(/\s+/).map(Number) as [number, number, number];
    if (uid >= inside && uid < inside + count) return outside + uid - inside;
  }
  return uid;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Field 22 of /proc/PID/stat; undefined without such a process. The name in field 2 may hold anything. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
