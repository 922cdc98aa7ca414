/**
 * What Roulette keeps, as plain data. A key is `TENANT/KIND/NAME`; whose it is stands in front, so that a tenant is what has one prefix.
 * A value's revision is the store's, and does not stand in the value.
 */
import type { Compare, Op } from '../store.ts';

/** 24 bits: the VXLAN network identifier. */
export type TenantId = number;

export interface Tenant {
  description: string;
  /** The chain revision that was given last. One counter for the whole tenant: that of a chain which is made anew still grows. */
  revision: number;
  /** The replica id that was given last to somebody who did not name one. */
  replica: number;
  /** Of its flows' ids: 16 hexadecimal digits, drawn when the tenant is made. All who place its flows share it. */
  secret: string;
}

export interface NetworkFunction {
  description: string;
}

export interface ChainRevision {
  /** 32 bits, as packets carry it. */
  revision: number;
  /** In the order in which packets visit them. */
  functions: string[];
  /** Replies visit the same replicas in the opposite order. */
  symmetric: boolean;
}

export interface Chain {
  /** The last is in force; those before are kept for packets that carry them. */
  revisions: ChainRevision[];
  /** No new flows; it goes when no packet can carry it any more. */
  ended: boolean;
}

export interface Replica {
  function: string;
  address: string;
  port: number;
  /** Share of the new flows, against the other replicas of the function. */
  weight: number;
  state: 'ready' | 'draining';
  lease: string;
}

export interface LeaseInfo {
  /** ns */
  term: number;
}

/** Matched in order; the first that fits decides. */
export interface Rule {
  name: string;
  /** Validated by the schema that the core is given. */
  match: unknown;
  /** SPI, or null: these packets pass no chain. */
  chain: number | null;
}

export interface Classifier {
  rules: Rule[];
}

export interface Flow {
  /** What the flow id was made of; two flows of one id are told apart by it. */
  key: string;
  spi: number;
  revision: number;
  /** 1 to 65535, then 1 again: one more with every change of the path. */
  generation: number;
  /** A replica for every function of the chain's revision. */
  path: number[];
  /** Replica of the function `egress`; 0 when there is none. */
  egress: number;
  /** Somebody put it there: it does not expire. */
  pinned: boolean;
}

export interface Suspect {
  evidence: 'refused' | 'silent';
  /** Revision of the replica that is suspected: another one under its id is not. */
  rev: number;
}

/** Where the probe of a path has been. */
export interface TracedHop {
  /** Of the path: functions from 0 on, then the far end. */
  position: number;
  /** Replica id. */
  replica: number;
  /** ns from the ingress until its answer was there; null: there was none. */
  time: number | null;
}

/** Somebody asks where the packets of a flow go, and the ingress that has it answers. Under the flow's id, for some seconds. */
export interface Trace {
  /** Tells two questions about one flow apart: 16 hexadecimal digits. */
  asked: string;
  found?: { ingress: number; hops: TracedHop[] };
}

/** By the kind in the key. */
export interface Kinds {
  tenant: Tenant;
  function: NetworkFunction;
  chain: Chain;
  replica: Replica;
  lease: LeaseInfo;
  classifier: Classifier;
  flow: Flow;
  suspect: Suspect;
  trace: Trace;
}

export type Kind = keyof Kinds;

export const KINDS: readonly Kind[] = [
  'tenant',
  'function',
  'chain',
  'replica',
  'lease',
  'classifier',
  'flow',
  'suspect',
  'trace',
];

/** The functions that every tenant has: where packets come into chains and where they leave. */
export const INGRESS = 'ingress';
export const EGRESS = 'egress';

/** Of the kinds of which a tenant has one. */
export const ONLY = '0';

export const keyOf = (tenant: TenantId, kind: Kind, name: string | number = ONLY): string =>
  `${tenant}/${kind}/${name}`;

export interface ParsedKey {
  tenant: TenantId;
  kind: Kind;
  name: string;
}

/** Undefined for what this program does not know. */
export function parseKey(key: string): ParsedKey | undefined {
  const [tenant, kind, name, ...more] = key.split('/');
  if (!name || more.length > 0 || !KINDS.includes(kind as Kind)) return undefined;
  return { tenant: Number(tenant), kind: kind as Kind, name };
}

export const put = <K extends Kind>(
  tenant: TenantId,
  kind: K,
  name: string | number,
  value: Kinds[K],
  lease?: string,
): Op => ({ key: keyOf(tenant, kind, name), value: JSON.stringify(value), ...(lease && { lease }) });

export const remove = (tenant: TenantId, kind: Kind, name: string | number): Op => ({
  key: keyOf(tenant, kind, name),
});

/** That nobody has changed it meanwhile; rev 0: that nobody has made it. */
export const unchanged = (tenant: TenantId, kind: Kind, name: string | number, rev: number): Compare => ({
  key: keyOf(tenant, kind, name),
  rev,
});
