/**
 * Probes along the paths of flows, for people who want to see where packets go. Each hop sends a copy back; what comes back is
 * told of as an event.
 */
import type { AppEvent, Ports } from '../../engine/app.ts';
import { COMMON_ACCOUNT } from '../../native/binding.ts';
import { copyBytes } from '../../packet/word.ts';
import { formatFlowId, readFlowId } from '../flow-id.ts';
import { NONE } from '../flow-table.ts';
import { type ChainTables, NO_ROW } from '../tables/index.ts';
import { toProbe } from '../wire/edit.ts';
import type { ChainHeader } from '../wire/header.ts';
import { AT_NSH, AT_PATH } from '../wire/prefix.ts';
import { flowHigh, flowLow, functions, replica, START } from '../wire/tlv.ts';
import type { Paths } from './paths.ts';

/** Flows traced at a time: one more, and the first is forgotten. */
const MOST = 64;

export class Traces {
  readonly #paths: Paths;
  /** When the probe of each flow was sent, ns, by id. */
  readonly #sent = new Map<string, number>();
  /** Rows whose probes are to be sent. */
  readonly #asked: number[] = [];
  emit: ((event: AppEvent) => void) | undefined;

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** The path along which a probe will go, or undefined. */
  ask(id: string): number[] | undefined {
    const { table } = this.#paths.flows;
    const { high, low } = readFlowId(id);
    const row = table.findId(high, low);
    if (row === NONE || table.prefixLength[row] === 0 || this.#asked.length === MOST) return undefined;
    this.#asked.push(row);
    const at = table.prefixAt(row) + AT_PATH;
    const count = functions(table.prefixes, at);
    return Array.from({ length: count + 2 }, (_, i) => replica(table.prefixes, at, i + START));
  }

  /** Sends what was asked for. */
  send({ pool, output, now }: Ports, tables: ChainTables): void {
    if (this.#asked.length === 0) return;
    const { table } = this.#paths.flows;
    for (const row of this.#asked.splice(0)) {
      const length = table.prefixLength[row];
      const peer = length === 0 ? NO_ROW : tables.row(this.#paths.first(row));
      const packet = peer === NO_ROW ? -1 : pool.alloc(COMMON_ACCOUNT);
      if (packet < 0) continue;
      const at = pool.offset[packet];
      copyBytes(table.prefixes, table.prefixAt(row), pool.slab, at, length);
      toProbe(pool.slab, at + AT_NSH);
      pool.length[packet] = length;
      pool.peer[packet] = peer;
      this.#note(formatFlowId(table.idHigh[row], table.idLow[row]), now);
      output.outside.put(packet);
    }
  }

  #note(id: string, now: number): void {
    this.#sent.delete(id);
    if (this.#sent.size === MOST) this.#sent.delete(this.#sent.keys().next().value!);
    this.#sent.set(id, now);
  }

  /** A probe that was sent here has come back from the hop, or the far end, at its position. */
  answered(slab: Uint8Array, header: ChainHeader, now: number): void {
    const flow = formatFlowId(flowHigh(slab, header.flow), flowLow(slab, header.flow));
    const sent = this.#sent.get(flow);
    if (sent === undefined) return;
    const { position } = header;
    this.emit?.({
      type: 'hop',
      flow,
      position,
      replica: replica(slab, header.path, position),
      time: now - sent,
      last: position === header.functions,
    });
  }
}
