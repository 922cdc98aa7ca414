/** The connections of one TCP, by addresses and ports and by number; those in TIME-WAIT by addresses and ports alone. */
import { TunconnectorError } from '../../errors.ts';
import type { Connection } from './connection.ts';
import type { TcpLimits } from './settings.ts';
import { Table } from './table.ts';
import { type TimeWait, TimeWaits } from './time-wait.ts';

export class Connections {
  readonly table: Table;
  readonly timeWaits: TimeWaits;
  readonly #byId = new Map<number, Connection>();
  readonly #limit: number;
  #nextId = 0;

  constructor(limits: TcpLimits, key0: number, key1: number) {
    this.#limit = limits.connections;
    this.table = new Table(key0, key1);
    this.timeWaits = new TimeWaits(limits.timeWaits, (row) => this.table.remove(row));
  }

  /** Those in TIME-WAIT apart. */
  get size(): number {
    return this.#byId.size;
  }

  get full(): boolean {
    return this.#byId.size >= this.#limit;
  }

  /** @throws ERR_LIMIT */
  checkLimit(): void {
    if (this.full) throw new TunconnectorError('ERR_LIMIT', `there are ${this.size} connections already`);
  }

  /** For the next one. */
  nextId(): number {
    return this.#nextId++;
  }

  byId(id: number): Connection | undefined {
    return this.#byId.get(id);
  }

  /** Its key is in no row yet. */
  add(c: Connection): void {
    this.table.insert(c);
    this.#byId.set(c.id, c);
  }

  remove(c: Connection): void {
    this.table.remove(c);
    this.#byId.delete(c.id);
  }

  /** As they are now: they may go meanwhile. */
  all(): Connection[] {
    return [...this.#byId.values()];
  }

  endTimeWaits(): void {
    for (const row of [...this.table]) if (row.timeWait) this.timeWaits.remove(row as TimeWait);
  }
}
