/**
 * Chains through pass-through functions, each member on a host of its own: the same ends, ours, with functions that are ours or C relays.
 * What everybody has to know of the chain stands in tables that are given to it: nothing here asks a registry.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Host, HostProcess } from 'tunconnector/testing';
import type { TableUpdate } from '../../../dist/chain/tables/update.js';
import { startJson, stopJson } from '../../harness/json-program.ts';
import {
  functionAddress,
  type Lab,
  OUTER,
  reachable,
  type VisitContext,
  withChainLab,
} from '../../harness/lab.ts';
import { program, twin } from '../../harness/root.ts';
import type { Sample, Visit } from '../../harness/rounds.ts';

export const SUITE = 'chain';
export const OURS = 'ours';
export const TWIN = 'C relays';
/** In the order of their turns. */
export const SUBJECTS = [TWIN, OURS] as const;
type Subject = (typeof SUBJECTS)[number];

export const functionsOf = (length: number) => `${length} ${length === 1 ? 'function' : 'functions'}`;

const PORT = 4790;
const TENANT = 42;
const INGRESS = 1;
const EGRESS = 2;
const functionId = (k: number) => 11 + k;
const START_LIMIT_MS = 20_000;

/** Of host b: what is sent there goes through so many functions. */
export const innerAddress = (functions: number) => `10.66.${functions}.2`;
const INGRESS_ADDRESS = '10.66.100.1';

/** What carries packets of all lengths of chain at once. */
export interface Path {
  lab: Lab;
  /** In the order in which packets visit them. */
  functions: HostProcess[];
  ends: HostProcess[];
}

/** @param lengths the numbers of functions that there are chains of */
export function pathVisit(
  subject: Subject,
  lengths: readonly number[],
  measure: (path: Path) => Promise<Sample[]>,
): Visit {
  const most = Math.max(...lengths);
  return {
    subject,
    overhead: 4 + most / 2,
    measure: (context: VisitContext) =>
      withChainLab(context, most, async (lab, hosts) => {
        const functions = await Promise.all(
          hosts.map((host, k) => startFunction(lab, host, k, subject, lengths)),
        );
        const ends = await startEnds(lab, lengths);
        for (const length of lengths) await reachable(lab, lab.a, innerAddress(length));
        const samples = await measure({ lab, functions, ends });
        for (const process of [...functions, ...ends]) await stopJson(process);
        return samples;
      }),
  };
}

/** Neighbours on the path are on different processors. */
const cpuOf = ({ placement }: Lab, k: number) => (k % 2 === 0 ? placement.client : placement.server);

async function startFunction(
  lab: Lab,
  host: Host,
  k: number,
  subject: Subject,
  lengths: readonly number[],
): Promise<HostProcess> {
  const bind = `${functionAddress(k)}:${PORT}`;
  const argv =
    subject === OURS
      ? [
          process.execPath,
          program('chain-member'),
          'hop',
          bind,
          await tablesFile(lab, functionId(k), lengths),
        ]
      : [twin('relay'), bind, `${TENANT}`, `${functionId(k)}`, ...relayWords(lengths)];
  return startJson(lab, host, cpuOf(lab, k), argv, START_LIMIT_MS);
}

async function startEnds(lab: Lab, lengths: readonly number[]): Promise<HostProcess[]> {
  const { tunnelA, tunnelB } = lab.placement;
  const there = lengths.map((length) => `${innerAddress(length)}/32`);
  const start = async (role: 'ingress' | 'egress', id: number, addresses: string[]) => {
    const [host, cpu, bind] = role === 'ingress' ? [lab.a, tunnelA, OUTER.a] : [lab.b, tunnelB, OUTER.b];
    const argv = [
      ...[process.execPath, program('chain-member'), role, `${bind}:${PORT}`],
      ...[await tablesFile(lab, id, lengths), addresses.join(',')],
    ];
    return startJson(lab, host, cpu, argv, START_LIMIT_MS);
  };
  const ends = await Promise.all([
    start('ingress', INGRESS, [`${INGRESS_ADDRESS}/32`]),
    start('egress', EGRESS, there),
  ]);
  await lab.a.ip(`route add 10.66.0.0/16 dev tun0 src ${INGRESS_ADDRESS}`);
  await lab.b.ip(`route add ${INGRESS_ADDRESS}/32 dev tun0`);
  return ends;
}

const nameOf = (k: number) => `f${k}`;
const servicePath = (length: number) => 1 + length;
const members = (most: number) => [
  { id: INGRESS, function: 'ingress', address: OUTER.a as string },
  { id: EGRESS, function: 'egress', address: OUTER.b as string },
  ...Array.from({ length: most }, (_, k) => ({
    ...{ id: functionId(k), function: nameOf(k), address: functionAddress(k) },
  })),
];

function tables(own: number, lengths: readonly number[]): TableUpdate {
  return {
    whole: true,
    own: { id: own },
    chains: lengths.map((length) => ({
      ...{ spi: servicePath(length), symmetric: true, ended: false },
      revisions: [{ revision: 1, functions: Array.from({ length }, (_, k) => nameOf(k)) }],
    })),
    replicas: members(Math.max(...lengths)).map((member) => ({
      ...member,
      ...{ port: PORT, weight: 1, state: 'ready' },
    })),
    rules: lengths.map((length) => ({
      ...{ name: `chain of ${length}`, match: `${innerAddress(length)}/32`, chain: servicePath(length) },
    })),
  };
}

async function tablesFile(lab: Lab, own: number, lengths: readonly number[]): Promise<string> {
  const file = path.join(lab.scratch, `tables-${own}.json`);
  await writeFile(file, JSON.stringify(tables(own, lengths)));
  return file;
}

const relayWords = (lengths: readonly number[]) => [
  ...members(Math.max(...lengths)).flatMap(({ id, address }) => ['--member', `${id}=${address}:${PORT}`]),
  ...lengths.flatMap((length) => ['--chain', `${servicePath(length)}:1:${length}`]),
];
