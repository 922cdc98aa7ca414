/**
 * What a folder holds after whatever has happened to the program: the snapshot, and of the logs what comes after it. A torn end of the last
 * log is cut; everything else that does not fit is an error, for it was durable once and somebody was told so.
 *
 * Files: `snapshot`, and `log-NNNNNNNNNNNNNNNN` with the number of its first frame. A snapshot takes the place of all frames up
 * to its own number; a crash may leave logs that it has made superfluous.
 */
import type { Storage } from '../../../engine/outside.ts';
import { TunconnectorError } from '../../../errors.ts';
import { decodeFrames } from './frame.ts';
import { decodeSnapshot, encodeSnapshot, type Snapshot } from './snapshot.ts';
import { type LogRecord, Table } from './table.ts';

export const SNAPSHOT = 'snapshot';
export const logName = (sequence: number): string => `log-${String(sequence).padStart(16, '0')}`;
const isLog = (file: string): boolean => /^log-\d{16}$/.test(file);

/** A frame of the log. */
export interface Batch {
  sequence: number;
  records: LogRecord[];
}

export interface Recovered extends Snapshot {
  /** The log to go on with, and its length in bytes. */
  log: string;
  length: number;
}

type Done = (error: TunconnectorError | undefined, recovered?: Recovered) => void;

/**
 * Reads the folder, or makes a new store in an empty one.
 * @param fresh the name of a store that is made
 */
export function recover(storage: Storage, fresh: string, done: Done): void {
  storage.list((error, files) => {
    if (error) return done(error);
    const logs = files.filter(isLog);
    storage.read(SNAPSHOT, (error, bytes) => {
      if (error) return done(error);
      if (bytes) return readLogs(storage, bytes, logs, done);
      if (logs.length > 0) {
        return done(broken(storage, SNAPSHOT, 0, `it is missing, though there is ${logs[0]}`));
      }
      const empty: Snapshot = { store: fresh, sequence: 0, table: new Table() };
      storage.replace(SNAPSHOT, encodeSnapshot(empty), (error) =>
        done(error, error ? undefined : { ...empty, log: logName(1), length: 0 }),
      );
    });
  });
}

function readLogs(storage: Storage, bytes: Uint8Array, logs: readonly string[], done: Done) {
  const { values, length } = decodeFrames(bytes);
  if (length < bytes.length) return done(broken(storage, SNAPSHOT, length, 'its checksum is wrong'));
  const snapshot = decodeSnapshot(values);
  if (typeof snapshot === 'string') return done(broken(storage, SNAPSHOT, 0, snapshot));
  const next = (index: number, recovered: Recovered) => {
    if (index === logs.length) return settle(storage, logs, snapshot.sequence, recovered, done);
    const log = logs[index];
    storage.read(log, (error, bytes = new Uint8Array(0)) => {
      if (error) return done(error);
      const { values, length, spoilt } = decodeFrames(bytes);
      const torn = index === logs.length - 1 && !spoilt;
      if (length < bytes.length && !torn) {
        return done(broken(storage, log, length, 'its checksum is wrong, and what follows was durable'));
      }
      for (const { sequence, records } of values as Batch[]) {
        if (sequence <= recovered.sequence) continue;
        if (sequence !== recovered.sequence + 1) {
          const gap = `frame ${sequence} follows ${recovered.sequence}`;
          return done(broken(storage, log, 0, `${gap}, what was between is missing`));
        }
        for (const record of records) recovered.table.apply(record);
        recovered.sequence = sequence;
      }
      next(index + 1, { ...recovered, log, length });
    });
  };
  next(0, { ...snapshot, log: logName(snapshot.sequence + 1), length: 0 });
}

/** Makes durable what was found, for the crash may have left more than was synced; then removes what is superfluous. */
function settle(
  storage: Storage,
  logs: readonly string[],
  inSnapshot: number,
  recovered: Recovered,
  done: Done,
): void {
  const { log, length } = recovered;
  const superfluous = logs.filter((_, i) => i + 1 < logs.length && logs[i + 1] <= logName(inSnapshot + 1));
  const finish = (error?: TunconnectorError) => {
    if (error) return done(error);
    removeLogs(storage, superfluous, () => done(undefined, recovered));
  };
  if (logs.length > 0) storage.truncate(log, length, finish);
  else finish();
}

/** One that cannot be removed now is in nobody's way, and is tried again at the next start. */
export function removeLogs(storage: Storage, logs: readonly string[], done: () => void) {
  if (logs.length === 0) return done();
  storage.remove(logs[0], () => removeLogs(storage, logs.slice(1), done));
}

function broken(storage: Storage, file: string, offset: number, what: string): TunconnectorError {
  return new TunconnectorError(
    'ERR_STORAGE',
    `the file ${file} of the store ${storage.name} cannot be read from byte ${offset} on: ${what}`,
    { remedy: 'put a copy of the whole folder in its place, or move the folder away to start empty' },
  );
}
