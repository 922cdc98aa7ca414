/**
 * The prefix of a packet that came in, read in place: one object for all packets, moved from one to the next. Every rule
 * that its bytes alone can break is checked here; whether there is such a chain is for those who know the chains.
 */
import * as geneve from '../../packet/geneve.ts';
import * as nsh from '../../packet/nsh.ts';
import { Problem } from '../../packet/problem.ts';
import { EtherType } from '../../packet/protocol.ts';
import * as vxlanGpe from '../../packet/vxlan-gpe.ts';
import { ChainDrop, nshDrop } from '../reasons.ts';
import { type Encapsulation, MAX_PREFIX } from './prefix.ts';
import { CLASS, FLOW, FLOW_LENGTH, functions, isPath, PATH } from './tlv.ts';

/** `read`: nothing is wrong. */
export const ACCEPTED = -1;

export class ChainHeader {
  /** The virtual network it belongs to. */
  tenant = 0;
  // Offsets in the bytes it was read from.
  /** Of the NSH header. */
  nsh = 0;
  /** Of the FLOW TLV. */
  flow = 0;
  /** Of the PATH TLV; -1 in a probe without. */
  path = -1;
  /** Where the prefix ends and the packet starts. */
  end = 0;

  /** How many functions the path leads through. */
  functions = 0;
  /** Functions passed: position k is that of function k, and that of the end is `functions`. */
  position = 0;
  /** IP version of the packet behind it; 0 for a probe, which has none. */
  family: 0 | 4 | 6 = 0;

  /** The bytes that were read stand elsewhere now. @param by how far behind where they were */
  shift(by: number): void {
    this.nsh += by;
    this.flow += by;
    if (this.path >= 0) this.path += by;
    this.end += by;
  }

  /**
   * Reads what is in a UDP datagram from `at` on.
   *
   * @param end of the datagram, or of the prefix alone
   * @returns ACCEPTED, or the reason to drop the packet for; then the fields mean nothing
   */
  read(bytes: Uint8Array, at: number, end: number, encapsulation: Encapsulation): number {
    const header = encapsulation === 'geneve' ? this.#geneve(bytes, at, end) : this.#gpe(bytes, at, end);
    if (header < 0) return ChainDrop.Encapsulation;
    const problem = nsh.check(bytes, header, end);
    if (problem !== Problem.None) return nshDrop(problem);
    this.nsh = header;
    this.end = header + nsh.headerLength(bytes, header);
    if (this.end - at > MAX_PREFIX) return ChainDrop.TooLong;

    // Only probes have the O bit, and nothing behind them (RFC 8300, 2.2; RFC 8393).
    const next = nsh.nextProtocol(bytes, header);
    const probe = nsh.oam(bytes, header);
    if (next === nsh.NextProtocol.Ipv4) this.family = 4;
    else if (next === nsh.NextProtocol.Ipv6) this.family = 6;
    else if (next === nsh.NextProtocol.None) this.family = 0;
    else return ChainDrop.NextProtocol;
    if (probe !== (this.family === 0)) return ChainDrop.NextProtocol;

    if (nsh.mdType(bytes, header) !== nsh.MdType.Variable) return ChainDrop.NoPath;
    this.flow = nsh.findTlv(bytes, header, CLASS, FLOW);
    if (this.flow < 0 || nsh.tlvLength(bytes, this.flow) !== FLOW_LENGTH) return ChainDrop.NoPath;
    this.path = nsh.findTlv(bytes, header, CLASS, PATH);
    this.position = nsh.FIRST_INDEX - nsh.serviceIndex(bytes, header);
    if (this.path < 0) {
      this.functions = 0;
      return probe ? ACCEPTED : ChainDrop.NoPath;
    }
    if (!isPath(bytes, this.path)) return ChainDrop.NoPath;
    this.functions = functions(bytes, this.path);
    return this.position > this.functions ? ChainDrop.ServiceIndex : ACCEPTED;
  }

  /** Where NSH starts, or -1. */
  #gpe(bytes: Uint8Array, at: number, end: number): number {
    if (vxlanGpe.check(bytes, at, end) !== Problem.None) return -1;
    if (vxlanGpe.nextProtocol(bytes, at) !== vxlanGpe.NextProtocol.Nsh) return -1;
    this.tenant = vxlanGpe.vni(bytes, at);
    return at + vxlanGpe.HEADER;
  }

  #geneve(bytes: Uint8Array, at: number, end: number): number {
    if (geneve.check(bytes, at, end) !== Problem.None || geneve.protocol(bytes, at) !== EtherType.Nsh)
      return -1;
    // RFC 8926, 3.4: whoever does not know a critical option drops the packet. Nothing here knows any.
    if ((geneve.flags(bytes, at) & geneve.Flag.Critical) !== 0) return -1;
    this.tenant = geneve.vni(bytes, at);
    return at + geneve.headerLength(bytes, at);
  }
}
