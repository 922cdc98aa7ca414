/** What the table of connections holds, by addresses and ports. */
import { formatIpAt } from '../../packet/address.ts';
import { getInt32 } from '../../packet/word.ts';

/** Words of a key: local address, remote address, ports. IPv4 stands in the last word of its four. */
export const KEY_WORDS = 9;

export abstract class Row {
  readonly key = new Int32Array(KEY_WORDS);
  hash = 0;
  /** In the same bucket. */
  chain: Row | null = null;
  abstract readonly timeWait: boolean;
  /** A SYN that nobody has decided about: an `Offer`. */
  readonly offered: boolean = false;

  get localPort(): number {
    return this.key[8] >>> 16;
  }

  get remotePort(): number {
    return this.key[8] & 0xffff;
  }
}

/** Of packets to a host that the stack only stands for. */
export abstract class CapturedRow extends Row {
  /** Whom it is for: 4 or 16 bytes. */
  get destination(): Uint8Array {
    return addressIn(this.key, 0);
  }

  /** Who has begun. */
  get source(): Uint8Array {
    return addressIn(this.key, 4);
  }

  /** As text. */
  get sourceAddress(): string {
    const bytes = this.source;
    return formatIpAt(bytes, 0, bytes.length === 4 ? 4 : 6);
  }
}

/** Writes the key of a packet that is received (`inward`) or was sent. @param ip @param transport in the slab */
export function keyOfPacket(
  slab: Uint8Array,
  family: 4 | 6,
  ip: number,
  transport: number,
  inward: boolean,
  key: Int32Array,
): void {
  const source = inward ? 4 : 0;
  const destination = 4 - source;
  if (family === 4) {
    for (let i = 0; i < 8; i++) key[i] = 0;
    key[source + 3] = getInt32(slab, ip + 12);
    key[destination + 3] = getInt32(slab, ip + 16);
    // Apart from the IPv6 address with the same last word.
    key[source + 2] = key[destination + 2] = 0xffff;
  } else {
    for (let i = 0; i < 4; i++) {
      key[source + i] = getInt32(slab, ip + 8 + 4 * i);
      key[destination + i] = getInt32(slab, ip + 24 + 4 * i);
    }
  }
  const ports = getInt32(slab, transport);
  key[8] = inward ? (ports << 16) | (ports >>> 16) : ports;
}

export function keyOf(
  local: Uint8Array,
  localPort: number,
  remote: Uint8Array,
  remotePort: number,
  key: Int32Array,
): void {
  words(local, key, 0);
  words(remote, key, 4);
  key[8] = (localPort << 16) | remotePort;
}

function words(address: Uint8Array, key: Int32Array, at: number): void {
  if (address.length === 4) {
    key[at] = key[at + 1] = 0;
    key[at + 2] = 0xffff;
    key[at + 3] = getInt32(address, 0);
  } else for (let i = 0; i < 4; i++) key[at + i] = getInt32(address, 4 * i);
}

/** The address in four words of a key from `at` on. */
export function addressIn(key: Int32Array, at: number): Uint8Array {
  const v4 = key[at] === 0 && key[at + 1] === 0 && key[at + 2] === 0xffff;
  const bytes = new Uint8Array(v4 ? 4 : 16);
  for (let i = 0; i < bytes.length; i++) {
    const word = key[at + (v4 ? 3 : i >> 2)];
    bytes[i] = word >>> (24 - 8 * (i & 3));
  }
  return bytes;
}
