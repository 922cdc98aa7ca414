/** What the embedded store holds: keys with revisions, and leases. It changes by records, each of which can be undone. */
import type { Entry, Op } from '../store.ts';

/** One change, as the log has it. Records are applied in their order, and then say the same whoever reads them. */
export interface LogRecord {
  /** The revision that this makes; left out when it changes no key. */
  rev?: number;
  ops?: Op[];
  grant?: { lease: string; term: number };
  /** A lease that ends; its keys are deleted by `ops`. */
  end?: string;
}

export interface LeaseState {
  /** ns */
  readonly term: number;
  readonly keys: Set<string>;
}

export class Table {
  rev = 0;
  /** The number that the next lease gets. */
  nextLease = 1;
  readonly entries = new Map<string, Entry>();
  readonly leases = new Map<string, LeaseState>();

  /** @returns puts everything back as it was; to be called in the opposite order of applying */
  apply(record: LogRecord): () => void {
    const undo: (() => void)[] = [];
    const { rev, nextLease } = this;
    if (record.grant) {
      const { lease, term } = record.grant;
      this.leases.set(lease, { term, keys: new Set() });
      this.nextLease = Math.max(nextLease, Number(lease) + 1);
      undo.push(() => this.leases.delete(lease));
    }
    if (record.rev !== undefined) this.rev = record.rev;
    for (const { key, value, lease } of record.ops ?? []) {
      const before = this.entries.get(key);
      this.#set(
        key,
        value === undefined ? undefined : { key, value, rev: this.rev, ...(lease && { lease }) },
      );
      undo.push(() => this.#set(key, before));
    }
    const ended = record.end === undefined ? undefined : this.leases.get(record.end);
    if (ended) {
      this.leases.delete(record.end!);
      undo.push(() => this.leases.set(record.end!, ended));
    }
    return () => {
      while (undo.length > 0) undo.pop()!();
      Object.assign(this, { rev, nextLease });
    };
  }

  /** Puts an entry as it is: from a snapshot, or back. */
  #set(key: string, entry: Entry | undefined): void {
    const lease = this.entries.get(key)?.lease;
    if (lease) this.leases.get(lease)?.keys.delete(key);
    if (!entry) {
      this.entries.delete(key);
      return;
    }
    this.entries.set(key, entry);
    if (entry.lease) this.leases.get(entry.lease)?.keys.add(key);
  }

  restore(entry: Entry): void {
    this.#set(entry.key, entry);
  }
}
