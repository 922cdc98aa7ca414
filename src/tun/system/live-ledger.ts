/**
 * Makes changes to the network namespace this process is in and takes them back. Runs in the janitor, which
 * therefore knows what was really done, not what somebody meant to do.
 */

import {
  FORWARDING,
  forwardingSideEffects,
  keepRouterAdvertisements,
  readSysctl,
  writeSysctl,
} from './live-forwarding.ts';
import { ipBatch, type RouteSpec, routeArguments } from './live-ip.ts';
import { type Masquerade, removeTable, startMasquerade } from './live-masquerade.ts';
import {
  type Change,
  describeChange,
  isLive,
  newRecord,
  readRecord,
  readRecords,
  removeRecord,
  saveRecord,
  withLock,
} from './live-records.ts';

type SysctlChange = Extract<Change, { kind: 'sysctl' }>;

/** What `ip route del` says when the kernel was faster, because the interface or its address is gone. */
const GONE = /No such process|Cannot find device|No such device|invalid gateway|does not exist/;

export class Ledger {
  readonly #record = newRecord();
  readonly #masquerades: Masquerade[] = [];

  async addRoute(route: RouteSpec): Promise<void> {
    await ipBatch([`route add ${routeArguments(route)}`]);
    this.#add({ kind: 'route', route });
  }

  async removeRoute(route: RouteSpec): Promise<void> {
    const text = routeArguments(route);
    const made = this.#changes('route').find((change) => routeArguments(change.route) === text);
    if (!made) return;
    await ipBatch([`route del ${text}`], { force: true });
    this.#drop(made);
  }

  /** Replaces a route that was added here by another to the same prefix, without a moment in between. */
  async moveRoute(from: RouteSpec, to: RouteSpec): Promise<void> {
    await ipBatch([`route replace ${routeArguments(to)}`]);
    const text = routeArguments(from);
    // Still there where IPv6 did not see `to` as the same kind of route.
    if (text !== routeArguments(to)) await ipBatch([`route del ${text}`], { force: true });
    const made = this.#changes('route').find((change) => routeArguments(change.route) === text);
    if (made) this.#drop(made);
    this.#add({ kind: 'route', route: to });
  }

  /**
   * Turns forwarding on where it is off. Where another command of ours turned it on, this one joins it, and
   * the last to leave restores; where anybody else did, it is left alone.
   */
  async enableForwarding(families: readonly (4 | 6)[]): Promise<void> {
    await withLock(() => {
      for (const family of families) {
        const key = FORWARDING[family];
        if (this.#changes('sysctl').some((change) => change.key === key)) continue;
        if (readSysctl(key) === '0') {
          const change: Change = {
            kind: 'sysctl',
            key,
            from: '0',
            to: '1',
            side: forwardingSideEffects(family),
          };
          // Written down before it is done: each of the settings may fail.
          this.#add(change);
          if (family === 6) keepRouterAdvertisements();
          writeSysctl(key, '1');
        } else {
          const shared = this.#othersWith(key);
          if (shared) this.#add(shared);
        }
      }
    });
  }

  async masquerade(prefixes: readonly string[], except: string): Promise<{ table: string; owned: boolean }> {
    const made = await startMasquerade(prefixes, except);
    this.#masquerades.push(made);
    if (!made.owned) this.#add({ kind: 'table', name: made.table });
    return { table: made.table, owned: made.owned };
  }

  /** Takes over what a janitor that was killed left in this namespace. */
  async adopt(file: string): Promise<void> {
    await withLock(() => {
      const record = readRecord(file);
      if (!record || isLive(record) || record.netns !== this.#record.netns) return;
      this.#record.changes.push(...record.changes);
      saveRecord(this.#record);
      removeRecord(file);
    });
  }

  /** What there is to undo, for people. */
  describe(): string[] {
    return this.#record.changes.map(describeChange);
  }

  /** Undoes everything, the last first, and goes on after failures, which it returns. */
  async undo(): Promise<string[]> {
    const failures: string[] = [];
    const attempt = async (changes: Change[], work: () => Promise<unknown>) => {
      try {
        await work();
        for (const change of changes) this.#drop(change);
      } catch (error) {
        failures.push((error as Error).message);
      }
    };
    for (const masquerade of this.#masquerades.splice(0).reverse()) {
      await attempt([], () => masquerade.remove());
    }
    for (const table of this.#changes('table').reverse()) {
      await attempt([table], () => removeTable(table.name));
    }
    const routes = this.#changes('route').reverse();
    if (routes.length > 0) {
      await attempt(routes, async () => {
        const lines = routes.map(({ route }) => `route del ${routeArguments(route)}`);
        const errors = (await ipBatch(lines, { force: true })).filter((line) => !GONE.test(line));
        if (errors.length > 0) throw new Error(errors.join('; '));
      });
    }
    const sysctls = this.#changes('sysctl').reverse();
    if (sysctls.length > 0) {
      await withLock(async () => {
        for (const change of sysctls) await attempt([change], async () => this.#restore(change));
      });
    }
    return failures;
  }

  /** Under the lock. */
  #restore(change: SysctlChange): void {
    if (this.#othersWith(change.key)) return;
    // Somebody changed it in the meantime: then it is theirs.
    if (readSysctl(change.key) === change.to) writeSysctl(change.key, change.from);
    for (const [key, value] of change.side) {
      try {
        if (readSysctl(key) !== value) writeSysctl(key, value);
      } catch (error) {
        // The interface has gone, and its settings with it.
        const { code, errno } = error as NodeJS.ErrnoException;
        if (code !== 'ENOENT' && String(errno) !== 'ENOENT') throw error;
      }
    }
  }

  /** The change to a sysctl as another janitor of this namespace wrote it down. */
  #othersWith(key: string): SysctlChange | undefined {
    for (const record of readRecords()) {
      if (record.netns !== this.#record.netns || record.pid === process.pid || !isLive(record)) continue;
      for (const change of record.changes) {
        if (change.kind === 'sysctl' && change.key === key) return change;
      }
    }
    return undefined;
  }

  #changes<K extends Change['kind']>(kind: K): Extract<Change, { kind: K }>[] {
    return this.#record.changes.filter((change) => change.kind === kind) as Extract<Change, { kind: K }>[];
  }

  #add(change: Change): void {
    this.#record.changes.push(change);
    saveRecord(this.#record);
  }

  #drop(change: Change): void {
    this.#record.changes.splice(this.#record.changes.indexOf(change), 1);
    saveRecord(this.#record);
  }
}
