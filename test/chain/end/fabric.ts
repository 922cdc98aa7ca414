/**
 * What lies between the ends of a chain, as one app: datagrams go by their peer address to another end, or to a hop, which is
 * played here as plainly as can be and notes which packets it has seen.
 */

import { advance } from '../../../src/chain/wire/edit.ts';
import { ACCEPTED, ChainHeader } from '../../../src/chain/wire/header.ts';
import { functions, generation, replica, revision, START } from '../../../src/chain/wire/tlv.ts';
import type { App, Pool, Ports } from '../../../src/engine/index.ts';
import { nsh } from '../../../src/packet/index.ts';
import { parseEndpoint } from '../../../src/packet/prefix.ts';

/** A packet at a hop. */
export interface Visit {
  replica: number;
  revision: number;
  generation: number;
  back: boolean;
  /** The whole path that it carries, ends and all. */
  path: number[];
}

export const addressOf = (id: number) => `10.9.${id >> 8}.${id & 255}:4790`;

export class Fabric implements App {
  readonly inputs: string[];
  readonly outputs: string[];
  readonly paths: Record<string, string[]>;
  readonly superframes = true;
  readonly layers: Record<string, 'datagram'>;
  /** By number in the packet's payload. */
  readonly visits = new Map<number, Visit[]>();
  readonly dead = new Set<number>();
  /** Datagrams that were sent to nobody, or to somebody dead. */
  lost = 0;
  /** Datagrams as they left an end. */
  record: Uint8Array[] | undefined;
  /** Changes a datagram on its way to an end. */
  spoil: ((pool: Pool, packet: number) => void) | undefined;
  /** Keeps datagrams back, to be late. */
  stall = false;
  /** The address that all datagrams seem to come from. */
  disguise: string | undefined;
  /** Whether prefixes stay apart from packets, as a port leaves them that has merged some. */
  apart = false;
  readonly #stalled: number[] = [];
  readonly #ends: Map<string, string>;
  readonly #header = new ChainHeader();

  /** @param ends names by replica id */
  constructor(ends: Record<number, string>) {
    const names = Object.values(ends);
    this.inputs = names;
    this.outputs = names;
    this.paths = Object.fromEntries(names.map((name) => [name, names]));
    this.layers = Object.fromEntries(names.map((name) => [name, 'datagram' as const]));
    this.#ends = new Map(Object.entries(ends).map(([id, name]) => [addressOf(Number(id)), name]));
  }

  push(ports: Ports): void {
    const { input } = ports;
    if (!this.stall) for (const packet of this.#stalled.splice(0)) this.#carry(ports, packet);
    for (const name of this.inputs) {
      for (let n = input[name]!.waiting; n > 0; n--) {
        const packet = input[name]!.take();
        this.#join(ports.pool, packet);
        this.record?.push(ports.pool.copyOut(packet));
        ports.pool.trafficClass[packet] = 0;
        const from = [...this.#ends].find(([, each]) => each === name)![0];
        this.#senders.set(packet, from);
        if (this.stall) this.#stalled.push(packet);
        else this.#carry(ports, packet);
      }
    }
  }

  readonly #senders = new Map<number, string>();

  held(): number {
    return this.#stalled.length;
  }

  /** From hop to hop, up to an end. */
  #carry({ pool, output }: Ports, packet: number): void {
    let from = this.#senders.get(packet)!;
    for (;;) {
      const to = pool.addresses.describe(pool.peer[packet]!);
      const end = this.#ends.get(to);
      if (end !== undefined && [...this.dead].some((id) => addressOf(id) === to)) {
        this.lost++;
        pool.free(packet);
        return;
      }
      if (end !== undefined) {
        this.spoil?.(pool, packet);
        pool.peer[packet] = rowOf(pool, this.disguise ?? from);
        if (this.apart) this.#part(pool, packet);
        output[end]!.put(packet);
        return;
      }
      const start = pool.offset[packet]!;
      if (this.#header.read(pool.slab, start, start + pool.length[packet]!, 'vxlan-gpe') === ACCEPTED) {
        if (this.#header.path < 0) {
          this.#answer(pool, packet, output, from, to);
          return;
        }
        if (this.#header.family === 0) this.#answerTrace(pool, packet, output, to);
      }
      const next = this.#hop(pool, packet, to);
      if (next === undefined) {
        this.lost++;
        pool.free(packet);
        return;
      }
      from = to;
      pool.peer[packet] = rowOf(pool, next);
    }
  }

  /** Where the hop at an address sends a packet. */
  #hop(pool: Pool, packet: number, at: string): string | undefined {
    const header = this.#header;
    const bytes = pool.slab;
    const start = pool.offset[packet]!;
    const end = start + pool.length[packet]!;
    if (header.read(bytes, start, end, 'vxlan-gpe') !== ACCEPTED || header.path < 0) return undefined;
    const own = replica(bytes, header.path, header.position);
    if (addressOf(own) !== at || this.dead.has(own)) return undefined;
    const path = Array.from({ length: functions(bytes, header.path) + 2 }, (_, i) =>
      replica(bytes, header.path, i - 1),
    );
    const serial = serialOf(bytes, header.end, end);
    const visit = {
      replica: own,
      revision: revision(bytes, header.path),
      generation: generation(bytes, header.path),
      back: (nsh.servicePath(bytes, header.nsh) & 0x800000) !== 0,
      path,
    };
    const visits = this.visits.get(serial);
    if (visits) visits.push(visit);
    else this.visits.set(serial, [visit]);
    this.onVisit?.(serial, visit);
    advance(bytes, header.nsh);
    return addressOf(replica(bytes, header.path, header.position + 1));
  }

  /** Whether a hop lives. */
  #answer(pool: Pool, packet: number, output: Ports['output'], from: string, to: string): void {
    if ([...this.dead].some((id) => addressOf(id) === to)) {
      pool.free(packet);
      return;
    }
    nsh.setTtl(pool.slab, this.#header.nsh, 62);
    pool.peer[packet] = rowOf(pool, to);
    output[this.#ends.get(from)!]!.put(packet);
  }

  /** A copy of a probe of a path, to who has sent it. */
  #answerTrace(pool: Pool, packet: number, output: Ports['output'], at: string): void {
    if ([...this.dead].some((id) => addressOf(id) === at)) return;
    const start = replica(pool.slab, this.#header.path, START);
    const answer = pool.copy(packet);
    pool.peer[answer] = rowOf(pool, at);
    output[this.#ends.get(addressOf(start))!]!.put(answer);
  }

  onVisit: ((serial: number, visit: Visit) => void) | undefined;

  #join(pool: Pool, packet: number): void {
    pool.own(packet);
    const prefix = pool.prefixLength[packet]!;
    pool.offset[packet]! -= prefix;
    pool.length[packet]! += prefix;
    pool.prefixLength[packet] = 0;
    pool.layer[packet] = 0;
  }

  #part(pool: Pool, packet: number): void {
    const start = pool.offset[packet]!;
    if (this.#header.read(pool.slab, start, start + pool.length[packet]!, 'vxlan-gpe') !== ACCEPTED) return;
    const prefix = this.#header.end - start;
    pool.offset[packet]! += prefix;
    pool.length[packet]! -= prefix;
    pool.prefixLength[packet] = prefix;
  }
}

export function rowOf(pool: Pool, endpoint: string): number {
  const { address, port } = parseEndpoint(endpoint);
  return pool.addresses.rowFor({ family: address.family, bytes: address.bytes, port, scope: 0 });
}

/** The number in the last four bytes. */
export function serialOf(bytes: Uint8Array, _at: number, end: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(end - 4);
}
