/**
 * What the outside brought, made an inner packet again: the layer it must have, lengths that fit, and the congestion
 * that the outer header met (RFC 6040, 4.2).
 */
import type { Pool } from '../engine/pool.ts';
import { applyOuterEcn, decapsulateEcn, ECN_DROP, ecnOf } from '../packet/ecn.ts';
import * as ip from '../packet/ip.ts';
import { Problem } from '../packet/problem.ts';
import { EtherType } from '../packet/protocol.ts';
import { get16 } from '../packet/word.ts';
import { carriesIp, ETHERIP_HEADER } from './encapsulate.ts';
import { TunnelDrop } from './reasons.ts';

const ETHERNET_HEADER = 14;
const VLAN_TAG = 4;

/** The first four bits of a datagram say what it is. */
export const Kind = { Control: 0, Ethernet: 3, Ipv4: 4, Ipv6: 6 } as const;

/** Whether a datagram is a control message. Of a superframe of Ethernet frames the first byte says nothing. */
export function isControl(pool: Pool, packet: number): boolean {
  if (pool.length[packet] === 0 || pool.prefixLength[packet] > 0) return false;
  return pool.slab[pool.offset[packet]] >> 4 === Kind.Control;
}

/**
 * Returns 0 when the datagram's inner packet may go on, otherwise the reason to drop it. Also for superframes that the
 * port made of datagrams: their EtherIP header is a prefix in front of them, which was looked at when they were merged.
 * @param layer what this tunnel carries
 */
export function decapsulate(pool: Pool, packet: number, layer: 2 | 3): number {
  const slab = pool.slab;
  if (pool.prefixLength[packet] > 0) {
    if (layer !== 2) return TunnelDrop.WrongLayer;
    pool.prefixLength[packet] = 0;
    return asFrame(pool, packet);
  }
  const kind = pool.length[packet] === 0 ? -1 : slab[pool.offset[packet]] >> 4;
  if (kind === Kind.Ethernet) {
    if (layer !== 2) return TunnelDrop.WrongLayer;
    return openEthernet(pool, packet);
  }
  if (kind !== Kind.Ipv4 && kind !== Kind.Ipv6) return TunnelDrop.Malformed;
  if (layer !== 3) return TunnelDrop.WrongLayer;
  const at = pool.offset[packet];
  if (ip.check(slab, at, at + pool.length[packet]) !== Problem.None) return TunnelDrop.Malformed;
  // What lies behind the packet's own length is not part of it.
  if (pool.segmentSize[packet] === 0) pool.length[packet] = ip.totalLength(slab, at);
  pool.layer[packet] = 3;
  pool.l3Offset[packet] = 0;
  return takeEcn(pool, packet);
}

/** The same without control messages and EtherIP header: the datagram is the packet. */
export function decapsulateRaw(pool: Pool, packet: number, layer: 2 | 3): number {
  return layer === 3 ? decapsulate(pool, packet, 3) : asFrame(pool, packet);
}

function openEthernet(pool: Pool, packet: number): number {
  const slab = pool.slab;
  const start = pool.offset[packet];
  if (pool.length[packet] < ETHERIP_HEADER) return TunnelDrop.Malformed;
  if (slab[start] !== 0x30 || slab[start + 1] !== 0) return TunnelDrop.Malformed;
  pool.offset[packet] = start + ETHERIP_HEADER;
  pool.length[packet] -= ETHERIP_HEADER;
  return asFrame(pool, packet);
}

function asFrame(pool: Pool, packet: number): number {
  const slab = pool.slab;
  const frame = pool.offset[packet];
  if (pool.length[packet] < ETHERNET_HEADER) return TunnelDrop.Malformed;
  pool.layer[packet] = 2;
  let header = ETHERNET_HEADER;
  let type = get16(slab, frame + header - 2);
  for (let tags = 0; tags < 2 && (type === EtherType.Vlan || type === EtherType.ServiceVlan); tags++) {
    header += VLAN_TAG;
    if (header > pool.length[packet]) return TunnelDrop.Malformed;
    type = get16(slab, frame + header - 2);
  }
  pool.l3Offset[packet] = header;
  return carriesIp(pool, packet) ? takeEcn(pool, packet) : 0;
}

/** Puts the congestion that the outer header met into the IP packet. Returns 0, or the reason to drop it for. */
export function takeEcn(pool: Pool, packet: number): number {
  const outer = pool.trafficClass[packet] & 3;
  if (outer === 0) return 0;
  const at = pool.offset[packet] + pool.l3Offset[packet];
  const inner = ecnOf(pool.slab, at);
  const result = decapsulateEcn(inner, outer);
  if (result === inner) return 0;
  if (result === ECN_DROP) return TunnelDrop.Congestion;
  if (!pool.own(packet)) return TunnelDrop.NoMemory;
  applyOuterEcn(pool.slab, pool.offset[packet] + pool.l3Offset[packet], outer);
  return 0;
}
