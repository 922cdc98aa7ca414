/**
 * Runs a function as an app: L3 packets in, L3 packets out, each with its chain's prefix in front of it.
 *
 *   1. the prefix says which flow it is and which way it goes (a packet without one is told by its addresses);
 *   2. the function looks at the packet, and changes it where it stands;
 *   3. its checksums are right; its verdict is done.
 *
 * A packet that it has made too long for the way to the next one is dropped, and its sender told what fits.
 *
 * What the function throws costs that packet alone: it is counted, and reported at most once in a second.
 */
import type { App, AppContext, AppReport, Layer, Limits, Ports } from '../../engine/app.ts';
import { IcmpReplies } from '../../engine/icmp-replies.ts';
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { duration, SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { PacketFlag } from '../../native/binding.ts';
import { flowKey, KEY_CELLS } from '../../packet/flow-key.ts';
import * as ip from '../../packet/ip.ts';
import * as ipv4 from '../../packet/ipv4.ts';
import { Problem } from '../../packet/problem.ts';
import { fillTransport } from '../../packet/transport.ts';
import { FlowIds } from '../flow-id.ts';
import { NONE } from '../flow-table.ts';
import { VnfContext, type VnfPath } from './context.ts';
import { Cursor, Upper } from './cursor.ts';
import type { Verdict, VnfFunction } from './define.ts';
import { type ExportedFlow, VnfFlow, VnfFlows } from './flows.ts';
import { HeldPackets } from './held.ts';
import { VnfPacket } from './packet.ts';
import { PrefixInHand } from './prefix-in-hand.ts';
import { VnfDrop } from './reasons.ts';

const NOTES_PER_SECOND = 10;
/** Flows by default, and packets to hold. */
const FLOWS = 65_536;
const HELD = 256;

/** What a function knows, as data: for another runtime of it. */
export interface VnfExport {
  name: string;
  /** What `exportState` of the function said. */
  state?: unknown;
  flows: ExportedFlow[];
}

export class VnfApp implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly required = ['in', 'out'];
  readonly layers: Readonly<Record<string, Layer>> = { in: 'L3', out: 'L3' };
  readonly superframes: boolean;
  readonly limits: Limits;
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  /** The function's name. */
  readonly function: string;

  readonly #does: VnfFunction;
  readonly #flows: VnfFlows;
  readonly #held: HeldPackets;
  readonly #cursor = new Cursor();
  readonly #packet = new VnfPacket(this.#cursor);
  readonly #flow: VnfFlow;
  readonly #prefix = new PrefixInHand();
  readonly #key = new Int32Array(KEY_CELLS);
  /** Without a chain: the same everywhere, so that whoever takes over knows the flows again. */
  readonly #ids = new FlowIds({ high: 0, low: 0 });
  readonly #icmp = new IcmpReplies([]);
  /** What a datagram to the next stop has room for, prefix and packet: bytes. Whoever opens the chain port knows. */
  room = Number.POSITIVE_INFINITY;
  #context!: AppContext;
  #ctx!: VnfContext;
  #pool!: Pool;
  #out: Link | undefined;
  #now = 0;
  /** A packet is in hand: within `process`. */
  #busy = false;
  #imported: VnfExport | undefined;

  #packets = 0;
  #errors = 0;
  #emitted = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;
  #unreported = 0;
  #notesLeft = NOTES_PER_SECOND;
  #notesSince = 0;

  constructor(name: string, does: VnfFunction) {
    this.function = name;
    this.#does = does;
    this.superframes = does.superframes === true;
    const { packets = HELD, time = '1s' } = does.hold ?? {};
    const superframes = this.superframes ? Math.min(packets, 64) : 0;
    this.limits = { packets, superframes };
    this.#held = new HeldPackets(packets, superframes, duration(time));
    const ended = does.flowEnded
      ? (row: number) => this.#guard(() => does.flowEnded!(this.#flows.states[row], this.#ctx))
      : undefined;
    this.#flows = new VnfFlows(does.flows ?? FLOWS, duration(does.idle ?? '300s'), ended);
    this.#flow = new VnfFlow(this.#flows.states);
  }

  async open(context: AppContext): Promise<void> {
    this.#context = context;
    this.#pool = context.pool;
    this.#now = context.runtime.now();
    const self = this;
    this.#ctx = new VnfContext(
      {
        get now() {
          return self.#now;
        },
        get ticket() {
          return self.#held.next;
        },
        emit: (bytes, reply, path) => this.#emit(bytes, reply, path),
        path: () => this.#path(),
        release: (ticket, verdict) => this.#release(ticket, verdict),
        note: (text) => this.#note(text),
        wake: context.wake,
      },
      context.random,
      context.runtime,
    );
    await this.#does.open?.(this.#ctx);
    if (this.#imported) this.importState(this.#imported);
  }

  push({ pool, input, output, now }: Ports): void {
    this.#now = now;
    this.#out = output.out;
    this.#flows.expire(now);
    for (let held = this.#held.expire(pool, now); held >= 0; held = this.#held.expire(pool, now))
      pool.drop(held, VnfDrop.HoldTime);
    // What a timer sets for now runs in the next round.
    for (let n = 0; n < 64; n++) {
      const callback = this.#ctx.timers.take(now);
      if (callback === undefined) break;
      this.#guard(callback);
    }
    const link = input.in;
    // Asked anew for each: packets of the function's own take room, too.
    while (link.waiting > 0) this.#one(pool, link.take(), output.out, now);
    this.#out = undefined;
    this.#plan();
  }

  #plan(): void {
    this.due[0] = Math.min(this.#flows.nextDeadline(), this.#held.nextDeadline(), this.#ctx.timers.next);
  }

  #one(pool: Pool, handle: number, out: Link, now: number): void {
    const cursor = this.#cursor;
    if (!cursor.move(pool, handle)) {
      pool.drop(handle, Reason.Malformed);
      return;
    }
    const refused = this.#findFlow(pool, handle, now);
    if (refused >= 0) {
      pool.drop(handle, refused);
      return;
    }
    this.#packets += pool.segments[handle];
    const ctx = this.#ctx;
    ctx.reason = VnfDrop.Dropped;
    const before = pool.length[handle];
    let verdict: Verdict;
    this.#busy = true;
    try {
      verdict = this.#does.process(this.#packet, this.#flow, ctx);
      cursor.finish();
    } catch (error) {
      this.#busy = false;
      this.#failed(error);
      // It may be another handle by now.
      pool.drop(cursor.handle, VnfDrop.Error);
      return;
    }
    this.#busy = false;
    const packet = cursor.handle;
    if (cursor.lost) pool.drop(packet, Reason.NoMemory);
    else if (verdict === 'forward') this.#forward(pool, packet, pool.length[packet] - before, out);
    else if (verdict === 'drop') pool.drop(packet, ctx.reason);
    else if (verdict === 'reply') this.#reply(pool, packet, out);
    else if (verdict === 'hold') {
      if (!this.#held.hold(pool, packet, now)) pool.drop(packet, VnfDrop.HoldFull);
    } else {
      this.#failed(
        new TypeError(`process answered ${describe(verdict)}, expected "forward", "drop", "reply" or "hold"`),
      );
      pool.drop(packet, VnfDrop.Verdict);
    }
  }

  /** @param growth bytes by which it is longer than it was */
  #forward(pool: Pool, packet: number, growth: number, out: Link): void {
    const fits = this.room - pool.prefixLength[packet];
    if (growth <= 0 || pool.length[packet] <= fits) {
      out.put(packet);
      return;
    }
    const { slab } = pool;
    const at = pool.offset[packet];
    if (ip.version(slab, at) === 4 && !ipv4.dontFragment(slab, at)) {
      // Outside, where the function behind it does not see pieces.
      pool.flags[packet] |= PacketFlag.MayFragment;
      out.put(packet);
      return;
    }
    const reply = this.#icmp.tooBig(pool, packet, fits - growth, this.#now);
    if (reply >= 0) {
      this.#prefix.copy(pool, packet, reply);
      this.#reply(pool, reply, out);
    }
    pool.drop(packet, VnfDrop.TooBig);
  }

  /** Moves `flow` to that of a packet. Returns a reason to drop it, or -1. */
  #findFlow(pool: Pool, handle: number, now: number): number {
    const flow = this.#flow;
    const prefix = this.#prefix;
    let back = false;
    let generation = 0;
    let revision = 0;
    if (pool.prefixLength[handle] > 0) {
      const refused = prefix.read(pool, handle);
      if (refused >= 0) return refused;
      flow.high = prefix.high;
      flow.low = prefix.low;
      back = prefix.isBack;
      generation = prefix.generation;
      revision = prefix.revision;
    } else {
      const key = this.#key;
      const direction = flowKey(pool.slab, this.#cursor.at, this.#cursor.end, key);
      if (direction < 0) return Reason.Malformed;
      this.#ids.of(key, 0, 0);
      flow.high = this.#ids.high;
      flow.low = this.#ids.low;
      back = direction === 1;
    }
    const flows = this.#flows;
    let row = flows.find(flow.high, flow.low, now);
    flow.isNew = row === NONE;
    if (row === NONE) {
      row = flows.add(flow.high, flow.low, now);
      // Whoever sends first without a prefix is where the flow begins.
      if (pool.prefixLength[handle] === 0) {
        flows.turned[row] = back ? 1 : 0;
        back = false;
      }
      flows.midstream[row] = back || generation > 1 || this.#isMidstream() ? 1 : 0;
    } else if (pool.prefixLength[handle] === 0) {
      back = back !== (flows.turned[row] === 1);
    } else if (revision > flows.revision[row] && flows.revision[row] !== 0) {
      // Packets may have gone past this function meanwhile.
      flows.midstream[row] = 1;
    }
    if (revision > flows.revision[row]) flows.revision[row] = revision;
    flow.row = row;
    flow.direction = back ? 'back' : 'there';
    flow.midstream = flows.midstream[row] === 1;
    if (flow.isNew && this.#does.state) {
      try {
        flow.state = this.#does.state(flow);
      } catch (error) {
        this.#failed(error);
        return VnfDrop.Error;
      }
    }
    return -1;
  }

  /** TCP whose first packet here opens no connection. */
  #isMidstream(): boolean {
    if (this.#cursor.kind !== Upper.Tcp) return false;
    const { syn, ack } = this.#packet.tcp!;
    return !syn || ack;
  }

  #reply(pool: Pool, packet: number, out: Link): void {
    if (!pool.own(packet)) {
      pool.drop(packet, Reason.NoMemory);
      return;
    }
    if (pool.prefixLength[packet] > 0) {
      const refused = this.#prefix.read(pool, packet);
      if (refused >= 0) {
        pool.drop(packet, refused);
        return;
      }
      this.#prefix.turn(pool.slab);
    }
    out.put(packet);
  }

  // ── What the function asks for.

  #emit(bytes: Uint8Array, reply: boolean, path: VnfPath | undefined): boolean {
    const pool = this.#pool;
    const out = this.#out;
    if (!(bytes instanceof Uint8Array) || ip.check(bytes, 0, bytes.length) !== Problem.None)
      throw new RangeError('what is emitted is no IP packet');
    if (path === undefined && !this.#busy) throw new RangeError('there is no packet in hand; give a path');
    if (out === undefined || (out.room === 0 && !out.feedback)) return false;
    const packet = pool.copyIn(bytes, 3, this.#context.account);
    if (packet < 0) return false;
    const at = pool.offset[packet];
    if (bytes[0] >> 4 === 4) ipv4.fillChecksum(pool.slab, at);
    fillTransport(pool.slab, at);
    if (path) this.#prefix.put(pool, packet, path.prefix, path.peer);
    else this.#prefix.copy(pool, this.#cursor.handle, packet);
    if (pool.prefixLength[packet] > 0) {
      if (this.#prefix.read(pool, packet) >= 0) {
        pool.free(packet);
        return false;
      }
      this.#prefix.setFamily(pool.slab, bytes[0] >> 4 === 4 ? 4 : 6);
      if (reply) this.#prefix.turn(pool.slab);
    }
    this.#emitted++;
    out.put(packet);
    return true;
  }

  #path(): VnfPath {
    if (!this.#busy) throw new RangeError('there is no packet in hand');
    const { handle } = this.#cursor;
    const at = this.#pool.offset[handle];
    const prefix = this.#pool.slab.slice(at - this.#pool.prefixLength[handle], at);
    return { prefix, peer: this.#pool.peer[handle] };
  }

  #release(ticket: number, verdict: 'forward' | 'drop' | 'reply'): boolean {
    const pool = this.#pool;
    const out = this.#out;
    if (out === undefined) return false;
    const packet = this.#held.take(pool, ticket);
    if (packet < 0) return false;
    if (verdict === 'drop') pool.drop(packet, VnfDrop.Dropped);
    else if (verdict === 'reply') this.#reply(pool, packet, out);
    else out.put(packet);
    return true;
  }

  #note(text: string): void {
    if (this.#now - this.#notesSince >= SECOND) {
      this.#notesSince = this.#now;
      this.#notesLeft = NOTES_PER_SECOND;
    }
    if (this.#notesLeft-- > 0)
      this.#context.emit({ type: 'vnf-note', function: this.function, text: String(text).slice(0, 1000) });
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.#errors++;
    this.#unreported++;
    if (this.#now - this.#reportedAt < SECOND) return;
    this.#reportedAt = this.#now;
    const { message, stack } =
      error instanceof Error ? error : { message: describe(error), stack: undefined };
    this.#context.emit({
      type: 'vnf-error',
      function: this.function,
      message: message.slice(0, 1000),
      // Where in the function.
      place: stack?.split('\n')[1]?.trim(),
      /** Since the last report. */
      errors: this.#unreported,
    });
    this.#unreported = 0;
  }

  // ── State, for another runtime of the same function.

  exportState(): VnfExport {
    const state = this.exportOwnState();
    return { name: this.function, ...(state === undefined ? {} : { state }), flows: this.exportFlows() };
  }

  /** What is not of a flow; undefined where there is nothing. */
  exportOwnState(): unknown {
    this.#now = this.#context.runtime.now();
    return this.#does.exportState?.();
  }

  /**
   * Flows that had a packet at `since` or later, those of the last packets first.
   * @param since ns @param most how many
   */
  exportFlows(since = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY): ExportedFlow[] {
    const flows: ExportedFlow[] = [];
    const now = this.#context.runtime.now();
    this.#now = now;
    for (const row of this.#flows) {
      if (this.#flows.last[row] < since || flows.length >= most) break;
      const state = this.#flows.states[row];
      flows.push({
        id: formatId(this.#flows.high(row), this.#flows.low(row)),
        midstream: this.#flows.midstream[row] === 1,
        age: now - this.#flows.last[row],
        state: state !== undefined && this.#does.exportFlow ? this.#does.exportFlow(state) : state,
      });
    }
    return flows;
  }

  /** Takes over what another one exported; before it is opened, or between packets. */
  importState(exported: VnfExport): void {
    if (this.#context === undefined) {
      this.#imported = exported;
      return;
    }
    this.#imported = undefined;
    if (exported.name !== this.function)
      throw new TunconnectorError(
        'ERR_CONFIG',
        `state of the function ${exported.name}, expected that of ${this.function}`,
      );
    const now = this.#context.runtime.now();
    this.#now = now;
    if (exported.state !== undefined) this.#does.importState?.(exported.state);
    // The one silent longest first: the table keeps that order.
    for (let i = exported.flows.length - 1; i >= 0; i--) {
      const { id, midstream, age, state } = exported.flows[i];
      const high = Number.parseInt(id.slice(0, 8), 16) | 0;
      const low = Number.parseInt(id.slice(8), 16) | 0;
      const known = this.#flows.find(high, low, now);
      const row = known === NONE ? this.#flows.add(high, low, now) : known;
      this.#flows.last[row] = now - age;
      this.#flows.midstream[row] = midstream ? 1 : 0;
      this.#flows.states[row] =
        state !== undefined && this.#does.importFlow ? this.#does.importFlow(state) : state;
    }
    this.#context.wake();
  }

  held(): number {
    return this.#held.count;
  }

  report(): AppReport {
    const report: AppReport = {
      function: this.function,
      packets: this.#packets,
      errors: this.#errors,
      emitted: this.#emitted,
      held: this.#held.count,
      flows: this.#flows.size,
      evicted: this.#flows.evicted,
    };
    for (const [name, count] of Object.entries(this.#ctx?.counters() ?? {})) report[`count.${name}`] = count;
    return report;
  }

  async close(): Promise<void> {
    if (this.#context === undefined) return;
    const pool = this.#pool;
    for (;;) {
      const held = this.#held.expire(pool, Number.POSITIVE_INFINITY);
      if (held < 0) break;
      pool.drop(held, Reason.Closed);
    }
    await this.#does.close?.(this.#ctx);
  }
}

const formatId = (high: number, low: number): string =>
  (high >>> 0).toString(16).padStart(8, '0') + (low >>> 0).toString(16).padStart(8, '0');

function describe(value: unknown): string {
  if (value instanceof Promise) return 'a promise (it must answer at once)';
  return typeof value === 'object' && value !== null ? 'an object' : `${String(value)}`;
}
