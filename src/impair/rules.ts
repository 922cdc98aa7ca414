/**
 * Rules in their order, compiled into rows of integers: the first that matches a flow has it. A rule is looked for when
 * a flow is new, and not again until the rules change.
 *
 * What belongs to which flow is the flow key's business (packet/flow-key.ts): an ICMP error goes with the flow that it
 * quotes, a fragment has no ports and matches rules without. A rule that looks at the DSCP divides the flows it may be for:
 * packets of one connection with different DSCPs are different flows then, and no others are.
 */
import { formatIp } from '../packet/address.ts';
import { flowFromKey, hasPorts, KeyCell } from '../packet/flow-key.ts';
import type { IpPrefix } from '../packet/prefix.ts';
import { Protocol } from '../packet/protocol.ts';
import { getInt32 } from '../packet/word.ts';
import type { Direction, FlowView, Match } from './match.ts';

/** No rule has it. */
export const DEFAULT = -1;
/** That depends on the packets' DSCP. */
export const DIVIDED = -2;

const ANY = -1;

/** Cells of a row. The first eight refuse most flows: half a cache line. */
const Cell = {
  rule: 0,
  version: 1,
  protocol: 2,
  portMin: 3,
  portMax: 4,
  dscp: 5,
  /** The place of its function, or -1. */
  when: 6,
  localMin: 7,
  localMax: 8,
  /** Four cells each. */
  remote: 9,
  remoteMask: 13,
  local: 17,
  localMask: 21,
} as const;
const CELLS = 25;

export class Rules {
  /** Functions of the library that threw; their rule did not match then. */
  failures = 0;
  readonly #rows: Int32Array;
  readonly #functions: ((flow: FlowView) => boolean)[] = [];
  readonly #direction: Direction;

  /** @param matches of each rule, in their order @param direction of the packets that will be looked at */
  constructor(matches: readonly Match[], direction: Direction) {
    this.#direction = direction;
    const rows: number[] = [];
    for (const [rule, match] of matches.entries()) {
      if (match.direction !== undefined && match.direction !== direction) continue;
      if (match.protocol === 'icmp') {
        rows.push(...this.#row(rule, { ...match, protocol: Protocol.Icmp }, 4));
        rows.push(...this.#row(rule, { ...match, protocol: Protocol.Icmpv6 }, 6));
      } else {
        rows.push(...this.#row(rule, match, ANY));
      }
    }
    this.#rows = Int32Array.from(rows);
  }

  /**
   * The rule of the flow whose key stands at `keys[at]`.
   *
   * @param backward whether its packets go from the key's higher endpoint to the lower
   * @param dscp of its packets, or -1 when they may have any
   * @returns the place of the rule, or DEFAULT or DIVIDED
   */
  find(keys: Int32Array, at: number, backward: boolean, dscp: number): number {
    const rows = this.#rows;
    const sourceLower = !backward;
    const remoteLower = this.#direction === 'up' ? !sourceLower : sourceLower;
    const remoteAt = at + (remoteLower ? KeyCell.lower : KeyCell.higher);
    const localAt = at + (remoteLower ? KeyCell.higher : KeyCell.lower);
    const ports = keys[at + KeyCell.ports];
    const version = (keys[at + KeyCell.protocol] >> 8) & 0xff;
    const protocol = keys[at + KeyCell.protocol] & 0xff;
    const ported = hasPorts(protocol);
    const remotePort = ported ? (remoteLower ? ports >>> 16 : ports & 0xffff) : ANY;
    const localPort = ported ? (remoteLower ? ports & 0xffff : ports >>> 16) : ANY;
    for (let row = 0; row < rows.length; row += CELLS) {
      if (rows[row + Cell.protocol] !== ANY && rows[row + Cell.protocol] !== protocol) continue;
      if (remotePort < rows[row + Cell.portMin] || remotePort > rows[row + Cell.portMax]) continue;
      if (rows[row + Cell.version] !== ANY && rows[row + Cell.version] !== version) continue;
      if (localPort < rows[row + Cell.localMin] || localPort > rows[row + Cell.localMax]) continue;
      if (!this.#covers(row + Cell.remote, keys, remoteAt)) continue;
      if (!this.#covers(row + Cell.local, keys, localAt)) continue;
      const wanted = rows[row + Cell.dscp];
      if (wanted !== ANY && dscp >= 0 && wanted !== dscp) continue;
      const when = rows[row + Cell.when];
      if (when !== ANY && !this.#asks(when, keys, at, remoteLower)) continue;
      return wanted !== ANY && dscp < 0 ? DIVIDED : rows[row + Cell.rule];
    }
    return DEFAULT;
  }

  #covers(prefix: number, keys: Int32Array, address: number): boolean {
    const rows = this.#rows;
    for (let i = 0; i < 4; i++) {
      if (((rows[prefix + i] ^ keys[address + i]) & rows[prefix + 4 + i]) !== 0) return false;
    }
    return true;
  }

  #asks(when: number, keys: Int32Array, at: number, remoteLower: boolean): boolean {
    try {
      return this.#functions[when](viewOf(keys, at, remoteLower, this.#direction)) === true;
    } catch {
      this.failures++;
      return false;
    }
  }

  #row(rule: number, match: Match, family: number): number[] {
    const row = new Array<number>(CELLS).fill(0);
    row[Cell.rule] = rule;
    row[Cell.version] = match.remote?.address.family ?? match.local?.address.family ?? family;
    row[Cell.protocol] = typeof match.protocol === 'number' ? match.protocol : ANY;
    row[Cell.dscp] = match.dscp ?? ANY;
    row[Cell.portMin] = match.port?.min ?? ANY;
    row[Cell.portMax] = match.port?.max ?? 65535;
    row[Cell.localMin] = match.localPort?.min ?? ANY;
    row[Cell.localMax] = match.localPort?.max ?? 65535;
    row[Cell.when] = match.when ? this.#functions.push(match.when) - 1 : ANY;
    if (match.remote) putPrefix(row, Cell.remote, match.remote);
    if (match.local) putPrefix(row, Cell.local, match.local);
    // An ICMP rule with addresses is for the protocol of their family alone.
    return family !== ANY && row[Cell.version] !== family ? [] : row;
  }
}

/** The address and the mask, four words each. */
function putPrefix(row: number[], at: number, { address, length }: IpPrefix): void {
  const words = address.family === 4 ? 1 : 4;
  for (let i = 0; i < words; i++) {
    row[at + i] = getInt32(address.bytes, 4 * i);
    const bits = Math.min(Math.max(length - 32 * i, 0), 32);
    row[at + 4 + i] = bits === 0 ? 0 : -1 << (32 - bits);
  }
}

/** A flow from the inside of the link. */
export function viewOf(keys: Int32Array, at: number, remoteLower: boolean, direction: Direction): FlowView {
  // Above the version may stand a DSCP.
  const key = keys.slice(at, at + KeyCell.hash);
  key[KeyCell.protocol] &= 0xffff;
  const { version, protocol, a, b } = flowFromKey(key);
  const [remote, local] = remoteLower ? [a, b] : [b, a];
  return {
    version,
    protocol,
    remote: formatIp(remote.address),
    remotePort: remote.port,
    local: formatIp(local.address),
    localPort: local.port,
    direction,
  };
}
