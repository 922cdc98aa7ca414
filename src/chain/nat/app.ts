/**
 * The app `nat`: what comes in at `inside` leaves at `outside` from an outer address, what comes in at `outside` leaves
 * at `inside` to whom it is for. Superframes stay whole.
 */
import { z } from 'zod';
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../../engine/app.ts';
import { portsSchema } from '../../engine/flow-match.ts';
import type { Link } from '../../engine/link.ts';
import { checkOptions } from '../../engine/options.ts';
import type { Pool } from '../../engine/pool.ts';
import { Reason } from '../../engine/reasons.ts';
import { SECOND } from '../../engine/units.ts';
import { TunconnectorError } from '../../errors.ts';
import { time } from '../../impair/quantities.ts';
import type { IpAddress } from '../../packet/address.ts';
import { hostAt, hostCount, parsePrefix } from '../../packet/prefix.ts';
import { type Fragments, NONE } from '../fragments.ts';
import { EARLY_FRAGMENT, Nat, type NatSession, TIMEOUTS, TRANSLATED } from './nat.ts';
import { NatDrop } from './reasons.ts';

/** Each has a table of its ports: 24 KiB. */
const MOST_ADDRESSES = 256;
/** Flows that end in one round. */
const ENDINGS = 256;
const HELD_FRAGMENTS = 64;

const timeout = (least: number) => time.refine((value) => value >= least, 'at least 1s');

export const natSchema = z.strictObject({
  /** Outer addresses and prefixes, of both IP versions; at least one. */
  addresses: z.array(z.string()).min(1),
  /** What outer ports, and identifiers of pings, are drawn from. */
  ports: portsSchema.default({ min: 1024, max: 65535 }),
  /** Flows at a time. */
  sessions: z.number().int().min(1).max(1_000_000).default(65_536),
  /** Flows of one inner address at a time. */
  perSource: z.number().int().min(1).max(1_000_000).default(4096),
  /** Idle time of established TCP connections (RFC 5382, REQ-5). */
  tcp: timeout(SECOND).default(TIMEOUTS.tcp),
  /** Of those that are not yet, or no longer. */
  tcpTransitory: timeout(SECOND).default(TIMEOUTS.tcpTransitory),
  /** RFC 4787, REQ-5. */
  udp: timeout(SECOND).default(TIMEOUTS.udp),
  /** Of UDP to a port below 1024 while there was one packet each way at most: names, time (RFC 4787, REQ-5a). */
  udpQuestion: timeout(SECOND).default(TIMEOUTS.udpQuestion),
  /** RFC 5508, REQ-1. */
  icmp: timeout(SECOND).default(TIMEOUTS.icmp),
});
export type NatAppOptions = z.input<typeof natSchema>;

/** The addresses that prefixes stand for. @throws ERR_CONFIG */
export function outerAddresses(prefixes: readonly string[]): IpAddress[] {
  const addresses: IpAddress[] = [];
  for (const text of prefixes) {
    const prefix = parsePrefix(text, { length: 'host' });
    const count = hostCount(prefix);
    if (addresses.length + count > MOST_ADDRESSES) {
      const message = `addresses: found ${text}, expected ${MOST_ADDRESSES} addresses at most`;
      throw new TunconnectorError('ERR_CONFIG', message);
    }
    for (let i = 0; i < count; i++) addresses.push(hostAt(prefix, i));
  }
  return addresses;
}

export class NatApp implements App {
  readonly inputs = ['inside', 'outside'];
  readonly outputs = ['inside', 'outside'];
  readonly required = ['inside', 'outside'];
  readonly layers: Readonly<Record<string, Layer>> = { inside: 'L3', outside: 'L3' };
  readonly paths = { inside: ['outside'], outside: ['inside'] };
  readonly superframes = true;
  readonly limits = { packets: 2 * HELD_FRAGMENTS };
  readonly due = new Float64Array(1).fill(Infinity);
  readonly #options: z.output<typeof natSchema>;
  readonly #addresses: IpAddress[];
  #nat!: Nat;
  #pool: Pool | undefined;

  constructor(options: z.output<typeof natSchema>) {
    this.#options = options;
    this.#addresses = outerAddresses(options.addresses);
  }

  open({ pool, runtime }: AppContext): void {
    const { ports, sessions, perSource, tcp, tcpTransitory, udp, udpQuestion, icmp } = this.#options;
    this.#pool = pool;
    this.#nat = new Nat({
      addresses: this.#addresses,
      ports,
      sessions,
      perSource,
      timeouts: { tcp, tcpTransitory, udp, udpQuestion, icmp },
      secret: runtime.secret(16),
    });
  }

  push({ pool, input, output, now }: Ports): void {
    const nat = this.#nat;
    nat.expire(now, ENDINGS);
    this.#direction(pool, input.inside, output.outside, true, now);
    this.#direction(pool, input.outside, output.inside, false, now);
    this.due[0] = Math.min(nat.nextDeadline(), nat.inside.nextDeadline(), nat.outside.nextDeadline());
  }

  #direction(pool: Pool, from: Link, to: Link, out: boolean, now: number): void {
    const fragments = out ? this.#nat.inside : this.#nat.outside;
    for (let late = fragments.expire(now); late !== NONE; late = fragments.expire(now))
      pool.drop(late, NatDrop.Fragment);
    for (let n = from.waiting; n > 0; n--) {
      this.#translate(pool, from.take(), to, out, now);
      // Those that waited for the first of their datagram follow it.
      if (fragments.waiting > 0) this.#release(pool, fragments, to, out, now);
    }
  }

  #release(pool: Pool, fragments: Fragments, to: Link, out: boolean, now: number): void {
    while (to.room > 0) {
      const packet = fragments.release(now);
      if (packet === NONE) return;
      this.#translate(pool, packet, to, out, now);
    }
  }

  #translate(pool: Pool, packet: number, to: Link, out: boolean, now: number): void {
    if (!pool.own(packet)) {
      pool.drop(packet, Reason.NoMemory);
      return;
    }
    const { slab } = pool;
    const at = pool.offset[packet] + pool.l3Offset[packet];
    const end = pool.offset[packet] + pool.length[packet];
    const open = pool.checksumStart[packet] >= 0;
    const nat = this.#nat;
    const verdict = out ? nat.outward(slab, at, end, open, now) : nat.inward(slab, at, end, open, now);
    if (verdict === TRANSLATED) {
      to.put(packet);
    } else if (verdict !== EARLY_FRAGMENT) {
      pool.drop(packet, verdict);
    } else if (!(out ? nat.inside : nat.outside).hold(slab, at, 0, packet, now)) {
      pool.drop(packet, NatDrop.Fragment);
    }
  }

  held(): number {
    return this.#nat.inside.waiting + this.#nat.outside.waiting;
  }

  canReconfigure(): boolean {
    return false;
  }

  /** All flows, for the NAT that takes its place. */
  exportState(): NatSession[] {
    return [...this.#nat.export()];
  }

  /** Takes over flows; returns how many it could not. */
  importState(sessions: Iterable<NatSession>, now: number): number {
    let refused = 0;
    for (const session of sessions) if (!this.#nat.import(session, now)) refused++;
    return refused;
  }

  report(): AppReport {
    return { sessions: this.#nat.sessions.size, bindings: this.#nat.bindings };
  }

  close(): void {
    for (const fragments of [this.#nat?.inside, this.#nat?.outside]) {
      if (!fragments) continue;
      for (let packet = fragments.expire(Infinity); packet !== NONE; packet = fragments.expire(Infinity))
        this.#pool!.free(packet);
    }
  }
}

/** @throws ERR_CONFIG */
export function checkNat(options: unknown): z.output<typeof natSchema> {
  const checked = checkOptions(natSchema, options);
  outerAddresses(checked.addresses);
  return checked;
}

export const nat = defineApp<NatAppOptions, z.output<typeof natSchema>>({
  module: import.meta.url,
  export: 'nat',
  check: checkNat,
  create: (options) => new NatApp(options),
});
