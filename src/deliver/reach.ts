/**
 * What may be reached from here. A client must not get at what trusts this machine: its loopback, its link, what a
 * cloud tells its machines. The longest prefix decides; of two equal ones what the user says.
 */
import { parsePrefix } from '../packet/prefix.ts';
import { PrefixTable } from '../packet/prefix-table.ts';
import { parseMap } from './words.ts';

/** What no socket leads to, or elsewhere than it seems. */
const NOWHERE: readonly string[] = [
  // RFC 1122, 3.2.1.3.
  '0.0.0.0/8',
  // Groups, what is reserved, and everybody.
  '224.0.0.0/3',
  // ::, ::1, and IPv4 in IPv6 clothes, which a kernel takes for IPv4 (RFC 4291, 2.5.5).
  '::/96',
  '::ffff:0:0/96',
  // They mean something else on every link.
  'fe80::/10',
  'ff00::/8',
];

/** Closed unless somebody opens them. */
const CLOSED: readonly string[] = [
  ...NOWHERE,
  // This host and its links: RFC 1122, 3.2.1.3; RFC 3927.
  '127.0.0.0/8',
  '169.254.0.0/16',
  // Metadata services that are not link-local: Azure, Alibaba, Oracle.
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
  'fec0::/10',
  // Metadata: AWS, Google.
  'fd00:ec2::/32',
  'fd20:ce::254',
];

const OPEN = 1;
const SHUT = 0;

export interface ReachOptions {
  allow: readonly string[];
  deny: readonly string[];
  map: readonly string[];
  /** Nothing is closed that can be reached. */
  trusted: boolean;
}

/** Where a client's packets are taken. */
export interface Target {
  /** 4 or 16 bytes. */
  bytes: Uint8Array;
  port: number;
}

export class Reach {
  readonly #options: ReachOptions;
  #tables = tables();
  /** By `ADDRESS PORT` in bytes, port 0 for any. */
  readonly #map = new Map<string, { bytes: Uint8Array; port: number }>();

  constructor(options: ReachOptions) {
    this.#options = options;
    for (const text of options.map) {
      const { from, to } = parseMap(text);
      this.#map.set(keyOf(from.address.bytes, from.port), { bytes: to.address.bytes, port: to.port });
    }
    this.close([]);
  }

  /** Closes these addresses as well, and no others that were closed by this before. */
  close(addresses: readonly string[]): void {
    const found = tables();
    const put = (text: string, value: number) => {
      const { address, length } = parsePrefix(text, { length: 'host' });
      found[address.family].insert(address.bytes, 0, length, value);
    };
    for (const text of this.#options.trusted ? NOWHERE : [...CLOSED, ...addresses]) put(text, SHUT);
    for (const text of this.#options.allow) put(text, OPEN);
    for (const text of this.#options.deny) put(text, SHUT);
    this.#tables = found;
  }

  /** Where packets to an address and port go; undefined: nowhere. */
  find(bytes: Uint8Array, port: number): Target | undefined {
    const mapped = this.#map.get(keyOf(bytes, port)) ?? this.#map.get(keyOf(bytes, 0));
    if (mapped) return { bytes: mapped.bytes, port: mapped.port === 0 ? port : mapped.port };
    const found = this.#tables[bytes.length === 4 ? 4 : 6].lookup(bytes, 0);
    return found === SHUT ? undefined : { bytes, port };
  }
}

const keyOf = (bytes: Uint8Array, port: number): string => `${bytes} ${port}`;

const tables = () => ({ 4: new PrefixTable(4), 6: new PrefixTable(6) });
