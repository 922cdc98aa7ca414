/** A table as one file: a head, entries in parts, and an end that says that nothing is missing. */
import type { Entry } from '../store.ts';
import { encodeFrame, joinBytes } from './frame.ts';
import { Table } from './table.ts';

/** Entries in one frame. */
const PART = 1024;
const FORMAT = 1;

interface Head {
  format: number;
  store: string;
  rev: number;
  /** Number of the last frame of the log that is in it. */
  sequence: number;
  nextLease: number;
  leases: [lease: string, term: number][];
  entries: number;
}

export interface Snapshot {
  store: string;
  sequence: number;
  table: Table;
}

export function encodeSnapshot({ store, sequence, table }: Snapshot): Uint8Array {
  const entries = [...table.entries.values()];
  const head: Head = {
    format: FORMAT,
    store,
    rev: table.rev,
    sequence,
    nextLease: table.nextLease,
    leases: [...table.leases].map(([lease, { term }]) => [lease, term]),
    entries: entries.length,
  };
  const frames = [encodeFrame(head)];
  for (let i = 0; i < entries.length; i += PART) frames.push(encodeFrame(entries.slice(i, i + PART)));
  return joinBytes(frames);
}

/** @returns what does not fit, when it is no snapshot that this can read */
export function decodeSnapshot(values: readonly unknown[]): Snapshot | string {
  const [head, ...parts] = values as [Head | undefined, ...Entry[][]];
  if (!head) return 'it has no head';
  if (head.format !== FORMAT) return `it has the format ${head.format}, this program reads ${FORMAT}`;
  const entries = parts.flat();
  if (entries.length !== head.entries) return `it has ${entries.length} entries of ${head.entries}`;
  const table = new Table();
  for (const [lease, term] of head.leases) table.apply({ grant: { lease, term } });
  for (const entry of entries) table.restore(entry);
  table.rev = head.rev;
  table.nextLease = head.nextLease;
  return { store: head.store, sequence: head.sequence, table };
}
