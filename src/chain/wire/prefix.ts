/**
 * What is written in front of a flow's packets: VXLAN-GPE or Geneve, NSH, FLOW, PATH. It is the same for all packets of a
 * flow on one hop, so it is built once and then copied, also in front of superframes, each of whose segments gets it.
 */
import { HEADROOM } from '../../native/binding.ts';
import * as geneve from '../../packet/geneve.ts';
import * as nsh from '../../packet/nsh.ts';
import { EtherType } from '../../packet/protocol.ts';
import * as vxlanGpe from '../../packet/vxlan-gpe.ts';
import {
  CLASS,
  FLOW,
  FLOW_LENGTH,
  PATH,
  PATH_LENGTH,
  pathTlvLength,
  START,
  setFlow,
  setGeneration,
  setReplica,
  setRevision,
} from './tlv.ts';

export type Encapsulation = 'vxlan-gpe' | 'geneve';

/** UDP destination ports (IANA). */
export const PORTS: Record<Encapsulation, number> = { 'vxlan-gpe': vxlanGpe.PORT, geneve: geneve.PORT };

/** The longest prefix that fits in front of a packet: bytes. */
export const MAX_PREFIX = HEADROOM;

/** Bit of a service path identifier: the way back. */
export const RETURN = 0x800000;

/** Both encapsulations have 8 bytes. */
const OUTER = vxlanGpe.HEADER;

/** Offsets in a prefix that is written here: of the NSH header, and of the TLVs. */
export const AT_NSH = OUTER;
export const AT_FLOW = AT_NSH + nsh.METADATA;
export const AT_PATH = AT_FLOW + nsh.TLV_HEADER + FLOW_LENGTH;

/** Bytes of the prefix of a path through so many functions. */
export const prefixLength = (functions: number): number =>
  OUTER + nsh.HEADER + nsh.TLV_HEADER + FLOW_LENGTH + pathTlvLength(functions);

export interface FlowPrefix {
  /** Default VXLAN-GPE. */
  encapsulation?: Encapsulation;
  /** The virtual network: 24 bits. */
  tenant: number;
  /** The chain, 1 to 0x7fffff; with RETURN for the way back. */
  servicePath: number;
  /** Of the packets. */
  family: 4 | 6;
  /** Flow id: upper and lower 32 bits. */
  flowHigh: number;
  flowLow: number;
  /** Of the chain: 32 bits. */
  revision: number;
  /** Of the path: 16 bits. */
  generation: number;
  /** Replica id of the member where the packets enter the chain. */
  start: number;
  /** One id for each function, in the order of the way, up to MAX_FUNCTIONS. */
  replicas: ArrayLike<number>;
  /** That of the member where they leave it, or CHOOSE. */
  end: number;
}

/** Writes the prefix that leaves the start of the path (service index 255, TTL 63) and returns its length. */
export function emitPrefix(prefix: FlowPrefix, bytes: Uint8Array, at = 0): number {
  const { tenant, replicas } = prefix;
  emitOuter(prefix.encapsulation ?? 'vxlan-gpe', tenant, bytes, at);
  const header = at + OUTER;
  const nextProtocol = prefix.family === 4 ? nsh.NextProtocol.Ipv4 : nsh.NextProtocol.Ipv6;
  nsh.emit({ nextProtocol, servicePath: prefix.servicePath }, bytes, header);
  const flow = header + nsh.METADATA;
  setFlow(bytes, flow, prefix.flowHigh, prefix.flowLow);
  const path = nsh.putTlv(bytes, flow, CLASS, FLOW, FLOW_LENGTH);
  setRevision(bytes, path, prefix.revision);
  setGeneration(bytes, path, prefix.generation);
  setReplica(bytes, path, START, prefix.start);
  for (let i = 0; i < replicas.length; i++) setReplica(bytes, path, i, replicas[i]);
  setReplica(bytes, path, replicas.length, prefix.end);
  const end = nsh.putTlv(bytes, path, CLASS, PATH, PATH_LENGTH + 2 * replicas.length);
  nsh.setHeaderLength(bytes, header, end - header);
  return end - at;
}

/** Bytes that `emitProbe` writes. */
export const PROBE_LENGTH = OUTER + nsh.HEADER + nsh.TLV_HEADER + FLOW_LENGTH;

/** Writes a probe of the next replica on a path: no flow, no path, nothing behind it. Returns its length. */
export function emitProbe(
  probe: Pick<FlowPrefix, 'encapsulation' | 'tenant' | 'servicePath'>,
  bytes: Uint8Array,
  at = 0,
): number {
  emitOuter(probe.encapsulation ?? 'vxlan-gpe', probe.tenant, bytes, at);
  const metadata = [{ class: CLASS, type: FLOW, value: new Uint8Array(FLOW_LENGTH) }];
  const { servicePath } = probe;
  nsh.emit({ oam: true, nextProtocol: nsh.NextProtocol.None, servicePath, metadata }, bytes, at + OUTER);
  return PROBE_LENGTH;
}

function emitOuter(encapsulation: Encapsulation, tenant: number, bytes: Uint8Array, at: number): void {
  if (encapsulation === 'geneve') geneve.emit({ protocol: EtherType.Nsh, vni: tenant }, bytes, at);
  else vxlanGpe.emit({ nextProtocol: vxlanGpe.NextProtocol.Nsh, vni: tenant }, bytes, at);
}
