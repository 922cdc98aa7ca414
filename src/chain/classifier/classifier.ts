/**
 * Finds the first rule for a flow without walking them: each field of the flow is looked up on its own and gives a row of
 * bits, one for each rule that allows this value; the first bit that all rows have is the rule (Lakshman and Stiliadis:
 * "High-speed policy-based packet forwarding using efficient multi-dimensional range matching", SIGCOMM 1998).
 *
 * It is asked once per flow, and made anew when the rules change.
 */
import type { PortRange } from '../../engine/flow-match.ts';
import { hasPorts, KeyCell } from '../../packet/flow-key.ts';
import type { IpPrefix } from '../../packet/prefix.ts';
import { PrefixTable } from '../../packet/prefix-table.ts';
import { Protocol } from '../../packet/protocol.ts';
import { put32 } from '../../packet/word.ts';
import type { ClassifierRule, FlowMatch } from './match.ts';

/** No rule is for the flow. */
export const NO_RULE = -1;
/** A packet without a VLAN tag. */
export const UNTAGGED = -1;

/** Where a flow has no ports, in place of one. */
const NO_PORT = -1;

export class Classifier {
  readonly #rules: readonly ClassifierRule[];
  readonly #rows: Rows;
  readonly #tenant: Values;
  readonly #vlan: Values;
  readonly #dscp: Values;
  readonly #protocol: Values;
  readonly #from: Ends;
  readonly #to: Ends;
  readonly #fromPort: Ports;
  readonly #toPort: Ports;

  constructor(rules: readonly ClassifierRule[]) {
    const matches = rules.map(({ match }) => match);
    const rows = new Rows(rules.length);
    this.#rules = rules;
    this.#rows = rows;
    this.#tenant = new Values(
      rows,
      matches.map(({ tenant }) => only(tenant)),
    );
    this.#vlan = new Values(
      rows,
      matches.map(({ vlan }) => only(vlan)),
    );
    this.#dscp = new Values(
      rows,
      matches.map(({ dscp }) => only(dscp)),
    );
    this.#protocol = new Values(rows, matches.map(protocolsOf));
    this.#from = new Ends(
      rows,
      matches.map(({ from }) => from),
    );
    this.#to = new Ends(
      rows,
      matches.map(({ to }) => to),
    );
    this.#fromPort = new Ports(
      rows,
      matches.map(({ fromPort }) => fromPort),
    );
    this.#toPort = new Ports(
      rows,
      matches.map(({ port }) => port),
    );
  }

  /** The chain of a rule that was found, or null for none. */
  chain(rule: number): number | null {
    return this.#rules[rule].chain;
  }

  /**
   * The first rule that is for the flow of a tenant whose key starts at `keys[at]`, or NO_RULE.
   *
   * @param direction of the packet that opens it: 0 from the lower endpoint to the higher, 1 the other way
   * @param dscp of that packet
   * @param vlan of its tag, or UNTAGGED
   */
  find(keys: Int32Array, at: number, tenant: number, direction: 0 | 1, dscp: number, vlan: number): number {
    const version = keys[at + KeyCell.protocol] >> 8;
    const protocol = keys[at + KeyCell.protocol] & 0xff;
    const ports = keys[at + KeyCell.ports];
    const ported = hasPorts(protocol);
    const lowerPort = ported ? ports >>> 16 : NO_PORT;
    const higherPort = ported ? ports & 0xffff : NO_PORT;
    const lower = at + KeyCell.lower;
    const higher = at + KeyCell.higher;

    const a = this.#tenant.row(tenant);
    const b = this.#vlan.row(vlan);
    const c = this.#dscp.row(dscp);
    const d = this.#protocol.row(keys[at + KeyCell.protocol]);
    const e = this.#from.row(keys, direction === 0 ? lower : higher, version);
    const f = this.#to.row(keys, direction === 0 ? higher : lower, version);
    const g = this.#fromPort.row(direction === 0 ? lowerPort : higherPort);
    const h = this.#toPort.row(direction === 0 ? higherPort : lowerPort);
    const { bits, words } = this.#rows;
    for (let i = 0; i < words; i++) {
      const all =
        bits[a + i] &
        bits[b + i] &
        bits[c + i] &
        bits[d + i] &
        bits[e + i] &
        bits[f + i] &
        bits[g + i] &
        bits[h + i];
      if (all !== 0) return 32 * i + 31 - Math.clz32(all & -all);
    }
    return NO_RULE;
  }
}

/** Rows of bits, one bit for each rule. A row is known by where it starts. */
class Rows {
  /** 32 bits each, in a row. */
  readonly words: number;
  bits = new Int32Array(1024);
  #used = 0;

  constructor(rules: number) {
    this.words = Math.ceil(rules / 32);
  }

  /** Another row, which allows no rule, or the same ones as the row `like`. */
  add(like?: number): number {
    const row = this.#used;
    this.#used += this.words;
    if (this.#used > this.bits.length) {
      const larger = new Int32Array(2 * this.#used);
      larger.set(this.bits);
      this.bits = larger;
    }
    if (like !== undefined) this.bits.copyWithin(row, like, like + this.words);
    return row;
  }

  allow(row: number, rule: number): void {
    this.bits[row + (rule >> 5)] |= 1 << (rule & 31);
  }

  /** A row for the rules that do not look at a field. */
  indifferent(field: readonly unknown[]): number {
    const row = this.add();
    for (const [rule, value] of field.entries()) if (value === undefined) this.allow(row, rule);
    return row;
  }
}

const only = (value: number | undefined): number[] | undefined => (value === undefined ? undefined : [value]);

/** The protocols of a match, as keys of flows have them. */
function protocolsOf({ protocol }: FlowMatch): number[] | undefined {
  if (protocol === undefined) return undefined;
  const [four, six] = [4 << 8, 6 << 8];
  return protocol === 'icmp'
    ? [four | Protocol.Icmp, six | Protocol.Icmpv6]
    : [four | protocol, six | protocol];
}

/** Rows by value. */
class Values {
  readonly #rows = new Map<number, number>();
  /** Of values that no rule names. */
  readonly #other: number;

  /** @param field the values that each rule allows, undefined for all */
  constructor(rows: Rows, field: readonly (readonly number[] | undefined)[]) {
    this.#other = rows.indifferent(field);
    for (const [rule, values] of field.entries()) {
      for (const value of values ?? []) {
        const row = this.#rows.get(value) ?? rows.add(this.#other);
        this.#rows.set(value, row);
        rows.allow(row, rule);
      }
    }
  }

  row(value: number): number {
    return this.#rows.get(value) ?? this.#other;
  }
}

/** Rows by address: that of a prefix allows the rules of all prefixes that cover it. */
class Ends {
  readonly #tables = { 4: new PrefixTable(4), 6: new PrefixTable(6) };
  readonly #outside: number;
  readonly #address = new Uint8Array(16);

  constructor(rows: Rows, field: readonly (IpPrefix | undefined)[]) {
    this.#outside = rows.indifferent(field);
    const known = new Map<string, number>();
    // Short ones first, so that what covers a prefix is there before it.
    const byLength = [...field.entries()].sort(([, a], [, b]) => (a?.length ?? 0) - (b?.length ?? 0));
    for (const [rule, prefix] of byLength) {
      if (prefix === undefined) continue;
      const { address, length } = prefix;
      const name = `${address.bytes.join('.')}/${length}`;
      let row = known.get(name);
      if (row === undefined) {
        const table = this.#tables[address.family];
        const covering = table.lookup(address.bytes, 0);
        row = rows.add(covering < 0 ? this.#outside : covering);
        table.insert(address.bytes, 0, length, row);
        known.set(name, row);
      }
      rows.allow(row, rule);
    }
  }

  row(keys: Int32Array, at: number, version: number): number {
    const bytes = this.#address;
    for (let i = 0; i < 4; i++) put32(bytes, 4 * i, keys[at + i]);
    const found = this.#tables[version === 4 ? 4 : 6].lookup(bytes, 0);
    return found < 0 ? this.#outside : found;
  }
}

/** Rows by port. All ports between two ends of ranges have the same. */
class Ports {
  /** First port of each interval, from NO_PORT on. */
  readonly #starts: Int32Array;
  readonly #rows: Int32Array;

  constructor(rows: Rows, field: readonly (PortRange | undefined)[]) {
    const starts = new Set([NO_PORT, 0]);
    for (const range of field) if (range) starts.add(range.min).add(range.max + 1);
    this.#starts = Int32Array.from(starts).sort();
    const any = rows.indifferent(field);
    this.#rows = this.#starts.map(() => rows.add(any));
    for (const [rule, range] of field.entries()) {
      if (range === undefined) continue;
      for (let i = this.#interval(range.min); this.#starts[i] <= range.max; i++)
        rows.allow(this.#rows[i], rule);
    }
  }

  row(port: number): number {
    return this.#rows[this.#interval(port)];
  }

  /** The last interval that starts at the port or below. */
  #interval(port: number): number {
    const starts = this.#starts;
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= port) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
