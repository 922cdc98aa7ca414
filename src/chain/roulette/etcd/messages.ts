/** What is said to etcd's JSON gateway and what it says: bytes are base64, numbers of 64 bits text, and what is 0 is left out. */
import { TunconnectorError } from '../../../errors.ts';
import type { Change, Compare, Entry, Op } from '../store.ts';

export const encode = (text: string): string => Buffer.from(text).toString('base64');
export const decode = (text: unknown): string => Buffer.from(String(text ?? ''), 'base64').toString('utf8');

/** The first key behind all that begin with this one, which ends with an ASCII character. */
export const endOf = (prefix: string): string =>
  prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);

type Json = Record<string, unknown>;

/** Undefined for what is no object. The gateway wraps what is part of a stream. */
export function parseAnswer(text: string): Json | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export const revisionOf = ({ header }: Json): number => Number((header as Json | undefined)?.revision ?? 0);

export interface KeyValue {
  key: string;
  value: string;
  rev: number;
  lease?: string;
}

function keyValue(kv: Json): KeyValue {
  const { key, value, mod_revision: rev, lease } = kv;
  return {
    key: decode(key),
    value: decode(value),
    rev: Number(rev),
    ...(lease !== undefined && lease !== '0' && { lease: String(lease) }),
  };
}

export const keyValues = ({ kvs }: Json): KeyValue[] => ((kvs as Json[] | undefined) ?? []).map(keyValue);

export const txnOf = (prefix: string, compare: readonly Compare[], ops: readonly Op[]): object => ({
  compare: compare.map(({ key, rev }) => ({
    key: encode(prefix + key),
    target: 'MOD',
    result: 'EQUAL',
    mod_revision: String(rev),
  })),
  success: ops.map(({ key, value, lease }) =>
    value === undefined
      ? { request_delete_range: { key: encode(prefix + key) } }
      : { request_put: { key: encode(prefix + key), value: encode(value), ...(lease && { lease }) } },
  ),
});

/** Events of one message as changes: those of one revision are one. @param prefix what keys begin with; others are told without operations */
export function changesOf(message: Json, prefix: string): Change[] {
  const { events } = (message.result ?? {}) as Json;
  const changes: { rev: number; ops: Op[] }[] = [];
  for (const event of (events as Json[] | undefined) ?? []) {
    const { key, value, rev, lease } = keyValue(event.kv as Json);
    let change = changes.at(-1);
    if (change?.rev !== rev) changes.push((change = { rev, ops: [] }));
    if (!key.startsWith(prefix)) continue;
    const name = key.slice(prefix.length);
    change.ops.push(event.type === 'DELETE' ? { key: name } : { key: name, value, ...(lease && { lease }) });
  }
  return changes;
}

export const entryOf = ({ key, ...rest }: KeyValue, prefix: string): Entry => ({
  key: key.slice(prefix.length),
  ...rest,
});

/** Codes of gRPC. */
const NOT_FOUND = 5;
const EXHAUSTED = 8;
const OUT_OF_RANGE = 11;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** Said before anything is done. */
const HARMLESS = ['etcdserver: no leader', 'etcdserver: server stopped', 'etcdserver: not capable'];
export const isHarmless = (answer: Json | undefined): boolean => HARMLESS.includes(String(answer?.error));

/** @returns the error for what etcd refused, and whether another member may know better */
export function etcdError(
  status: number,
  answer: Json | undefined,
  host: string,
): { error: TunconnectorError; passes: boolean } {
  const { error: text, code } = answer ?? {};
  if (typeof text !== 'string') {
    const message = `${host} answered with status ${status}, and not as etcd does`;
    const remedy = 'check that this is its client address';
    return { error: new TunconnectorError('ERR_STORAGE', message, { remedy }), passes: status >= 500 };
  }
  const said = `etcd at ${host} says: ${text}`;
  const storage = (remedy?: string) =>
    new TunconnectorError('ERR_STORAGE', said, remedy === undefined ? {} : { remedy });
  switch (code) {
    case NOT_FOUND:
      return {
        error: new TunconnectorError('ERR_NOT_FOUND', 'there is no such lease: it has ended', {
          remedy: 'ask for a new one',
        }),
        passes: false,
      };
    case EXHAUSTED:
      return { error: storage('compact and defragment it, or give it more room'), passes: false };
    case UNAUTHENTICATED:
      return { error: storage('give it a certificate whose name is a user of etcd'), passes: false };
    case OUT_OF_RANGE:
      return { error: storage(), passes: false };
    default:
      return { error: storage(), passes: code === UNAVAILABLE || text.includes('timed out') };
  }
}
