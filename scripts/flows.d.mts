import type { Host, HostProcess, Wire, World } from '../src/testing/index.ts';

export type Family = 4 | 6;

export const ADDRESSES: Record<
  Family,
  { outer: { server: string; client: string }; server: string; client: string }
>;
export const OFFLOADS_OFF: string;
export const COMBINATIONS: readonly { title: string; family: Family; words: string }[];

export interface Program {
  program: string;
  close(): Promise<void>;
}
/** A C program of this repository, by its path in it. */
export function compileProgram(source: string): Promise<Program>;
export function compileFlows(): Promise<Program>;

export function serveFlows(program: string, host: Host, address: string): Promise<HostProcess>;

export interface FlowsOptions {
  flows?: number;
  /** Of each flow. */
  bytes?: number;
  seed?: number;
  /** In writes of 1 to 3000 bytes, many of 1. */
  choppy?: boolean;
  /** Milliseconds for all of it. */
  timeout?: number;
  onProgress?: (sent: number) => void;
}

export interface FlowsResult {
  flows: number;
  equal: number;
  bytes: number;
  seconds: number;
}

export function sendFlows(
  program: string,
  host: Host,
  address: string,
  options?: FlowsOptions,
): Promise<FlowsResult>;

export function twoEnds(
  world: World,
  options?: { mtu?: number },
): Promise<{ server: Host; client: Host; wire: Wire }>;

export function startPair(
  server: Host,
  client: Host,
  options: { family: Family; words?: string },
): Promise<{ far: HostProcess; near: HostProcess }>;

export function untilReachable(host: Host, address: string, within?: number): Promise<void>;
