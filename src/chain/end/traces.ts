/**
 * Probes along the paths of flows, for people who want to see where packets go. Each hop sends a copy back. What comes back is told of as
 * an event, and to whoever asked through Roulette once all of it is there, or a second has passed.
 */
import type { AppEvent, Ports } from '../../engine/app.ts';
import { SECOND } from '../../engine/units.ts';
import { COMMON_ACCOUNT } from '../../native/binding.ts';
import * as nsh from '../../packet/nsh.ts';
import { copyBytes } from '../../packet/word.ts';
import { formatFlowId, readFlowId } from '../flow-id.ts';
import { NONE } from '../flow-table.ts';
import type { TracedPath } from '../member/control.ts';
import type { TracedHop } from '../roulette/model/model.ts';
import { type ChainTables, NO_ROW, type TraceQuestion } from '../tables/index.ts';
import { toProbe } from '../wire/edit.ts';
import type { ChainHeader } from '../wire/header.ts';
import { AT_NSH, AT_PATH } from '../wire/prefix.ts';
import { flowHigh, flowLow, functions, replica, START } from '../wire/tlv.ts';
import type { Paths } from './paths.ts';

/** Flows traced at a time; one more is not. */
const MOST = 64;
/** The TTL that a probe starts with tells its answers from late ones of those before: each of these in turn, from 63 down. */
const MARKS = 16;
/** ns for the answers of all hops. */
export const PATIENCE = SECOND;

interface Trace {
  id: string;
  row: number;
  /** ns; -1: not yet. */
  sent: number;
  /** With which it has started. */
  ttl: number;
  /** Of whoever asked through Roulette. */
  asked: string[];
  hops: TracedHop[];
  missing: number;
}

export class Traces {
  readonly #paths: Paths;
  /** By flow id, in the order in which they were asked for. */
  readonly #traces = new Map<string, Trace>();
  readonly #found: TracedPath[] = [];
  /** Probes so far. */
  #sent = 0;
  emit: ((event: AppEvent) => void) | undefined;
  onNews: (() => void) | undefined;

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** The path along which a probe will go, or undefined. */
  ask(id: string): number[] | undefined {
    const trace = this.#begin(id);
    return trace && [this.#replica(trace.row, START), ...trace.hops.map((hop) => hop.replica)];
  }

  /** Asked through Roulette: what is not known here is another ingress's to answer. */
  answer({ id, asked }: TraceQuestion): void {
    this.#begin(id)?.asked.push(asked);
  }

  /** One that is under way already serves whoever asks then. */
  #begin(id: string): Trace | undefined {
    const { table } = this.#paths.flows;
    const known = this.#traces.get(id);
    if (known) return known;
    const { high, low } = readFlowId(id);
    const row = table.findId(high, low);
    if (row === NONE || table.prefixLength[row] === 0 || this.#traces.size === MOST) return undefined;
    const count = functions(table.prefixes, table.prefixAt(row) + AT_PATH) + 1;
    const hops = Array.from({ length: count }, (_, position) => ({
      position,
      replica: this.#replica(row, position),
      time: null,
    }));
    const ttl = nsh.DEFAULT_TTL - (this.#sent++ % MARKS);
    const trace: Trace = { id, row, sent: -1, ttl, asked: [], hops, missing: count };
    this.#traces.set(id, trace);
    return trace;
  }

  #replica(row: number, position: number): number {
    const { table } = this.#paths.flows;
    return replica(table.prefixes, table.prefixAt(row) + AT_PATH, position);
  }

  /** Sends what was asked for, and gives up what has waited long enough. */
  run(ports: Ports, tables: ChainTables): void {
    if (this.#traces.size === 0) return;
    for (const trace of this.#traces.values()) {
      if (trace.sent < 0) {
        trace.sent = ports.now;
        this.#send(ports, tables, trace);
      } else if (ports.now - trace.sent >= PATIENCE) {
        this.#end(trace);
      }
    }
  }

  /** When `run` has something to give up: ns, or Infinity. */
  nextDeadline(): number {
    for (const { sent } of this.#traces.values()) return sent < 0 ? 0 : sent + PATIENCE;
    return Number.POSITIVE_INFINITY;
  }

  /** What was found for those who asked; once. */
  takeNews(): TracedPath[] | undefined {
    return this.#found.length > 0 ? this.#found.splice(0) : undefined;
  }

  /** What cannot be sent has no answers. */
  #send({ pool, output }: Ports, tables: ChainTables, { id, row, ttl }: Trace): void {
    const { table } = this.#paths.flows;
    const length = table.prefixLength[row];
    // Its row may be another flow's by now.
    if (length === 0 || formatFlowId(table.idHigh[row], table.idLow[row]) !== id) return;
    const peer = tables.row(this.#paths.first(row));
    const packet = peer === NO_ROW ? -1 : pool.alloc(COMMON_ACCOUNT);
    if (packet < 0) return;
    const at = pool.offset[packet];
    copyBytes(table.prefixes, table.prefixAt(row), pool.slab, at, length);
    toProbe(pool.slab, at + AT_NSH);
    nsh.setTtl(pool.slab, at + AT_NSH, ttl);
    pool.length[packet] = length;
    pool.peer[packet] = peer;
    output.outside.put(packet);
  }

  /** A probe that was sent here has come back from the hop, or the far end, at its position. */
  answered(slab: Uint8Array, header: ChainHeader, now: number): void {
    if (this.#traces.size === 0) return;
    const id = formatFlowId(flowHigh(slab, header.flow), flowLow(slab, header.flow));
    const { position } = header;
    const trace = this.#traces.get(id);
    const hop = trace?.hops[position];
    if (!trace || trace.sent < 0 || !hop || hop.time !== null) return;
    if (nsh.ttl(slab, header.nsh) + position !== trace.ttl) return;
    hop.replica = replica(slab, header.path, position);
    hop.time = now - trace.sent;
    const last = position === header.functions;
    this.emit?.({ type: 'hop', flow: id, position, replica: hop.replica, time: hop.time, last });
    if (--trace.missing === 0) this.#end(trace);
  }

  #end({ id, asked, hops }: Trace): void {
    this.#traces.delete(id);
    for (const each of asked) this.#found.push({ id, asked: each, hops });
    if (asked.length > 0) this.onNews?.();
  }
}
