/** The prefix of a packet that a function has in hand: read, copied to packets of its own, turned round for replies. */
import type { Pool } from '../../engine/pool.ts';
import * as nsh from '../../packet/nsh.ts';
import { EtherType } from '../../packet/protocol.ts';
import { copyBytes, get16 } from '../../packet/word.ts';
import { ChainDrop } from '../reasons.ts';
import { turnRound } from '../wire/edit.ts';
import { ACCEPTED, ChainHeader } from '../wire/header.ts';
import { RETURN } from '../wire/prefix.ts';
import { flowHigh, flowLow, generation, revision } from '../wire/tlv.ts';

/** Of Geneve, where the protocol stands; VXLAN-GPE has zeros and one byte there. */
const PROTOCOL = 2;

export class PrefixInHand {
  high = 0;
  low = 0;
  generation = 0;
  revision = 0;
  isBack = false;
  readonly #header = new ChainHeader();

  /** Reads what stands in front of a packet. Returns a reason to drop it, or -1. */
  read(pool: Pool, packet: number): number {
    const { slab } = pool;
    const end = pool.offset[packet];
    const at = end - pool.prefixLength[packet];
    const header = this.#header;
    const geneve = get16(slab, at + PROTOCOL) === EtherType.Nsh;
    const refused = header.read(slab, at, end, geneve ? 'geneve' : 'vxlan-gpe');
    if (refused !== ACCEPTED) return refused;
    if (header.path < 0 || header.end !== end) return ChainDrop.NoPath;
    this.high = flowHigh(slab, header.flow);
    this.low = flowLow(slab, header.flow);
    this.generation = generation(slab, header.path);
    this.revision = revision(slab, header.path);
    this.isBack = (nsh.servicePath(slab, header.nsh) & RETURN) !== 0;
    return -1;
  }

  /**
   * The one that was read, for back: on the path turned round, at this function's place in it. The TTL goes on as it was, or two
   * functions that reply to each other's replies would do so for ever.
   */
  turn(slab: Uint8Array): void {
    const { nsh: header, path, functions, position } = this.#header;
    const ttl = nsh.ttl(slab, header);
    turnRound(slab, header, path);
    nsh.setTtl(slab, header, ttl);
    nsh.setServiceIndex(slab, header, nsh.FIRST_INDEX - Math.max(0, functions - 1 - position));
  }

  /** Says which IP version is behind the one that was read. */
  setFamily(slab: Uint8Array, family: 4 | 6): void {
    nsh.setNextProtocol(slab, this.#header.nsh, family === 4 ? nsh.NextProtocol.Ipv4 : nsh.NextProtocol.Ipv6);
  }

  /** Puts bytes in front of a packet. */
  put(pool: Pool, packet: number, prefix: Uint8Array, peer: number): void {
    copyBytes(prefix, 0, pool.slab, pool.offset[packet] - prefix.length, prefix.length);
    pool.prefixLength[packet] = prefix.length;
    pool.peer[packet] = peer;
  }

  /** Puts the prefix of one packet in front of another. */
  copy(pool: Pool, from: number, to: number): void {
    const length = pool.prefixLength[from];
    const at = pool.offset[from] - length;
    copyBytes(pool.slab, at, pool.slab, pool.offset[to] - length, length);
    pool.prefixLength[to] = length;
    pool.peer[to] = pool.peer[from];
  }
}
