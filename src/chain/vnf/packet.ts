/** The packet that a function sees: one object over the slab, moved from packet to packet. It is another one after `process`. */
import { datagramKey } from '../../packet/flow-key.ts';
import * as ip from '../../packet/ip.ts';
import { type Cursor, Upper } from './cursor.ts';
import { PayloadView } from './payload.ts';
import { IcmpView, IpView, TcpView, UdpView } from './views.ts';

/** An address and a port, ready to be written. */
export interface PacketEnd {
  version: 4 | 6;
  /** The first of IPv4, all four of IPv6; the first byte of an address is the highest. */
  words: Int32Array;
  port: number;
}

export class VnfPacket {
  readonly ip: IpView;
  readonly payload: PayloadView;
  readonly #c: Cursor;
  readonly #tcp: TcpView;
  readonly #udp: UdpView;
  readonly #icmp: IcmpView;
  readonly #ends = new Uint8Array(32);

  /** @internal */
  constructor(cursor: Cursor) {
    this.#c = cursor;
    this.ip = new IpView(cursor);
    this.payload = new PayloadView(cursor);
    this.#tcp = new TcpView(cursor);
    this.#udp = new UdpView(cursor);
    this.#icmp = new IcmpView(cursor);
  }

  /** Where it is TCP and its header is whole: not in a later fragment. */
  get tcp(): TcpView | undefined {
    return this.#c.kind === Upper.Tcp ? this.#tcp : undefined;
  }

  get udp(): UdpView | undefined {
    return this.#c.kind === Upper.Udp ? this.#udp : undefined;
  }

  /** ICMP or ICMPv6. */
  get icmp(): IcmpView | undefined {
    return this.#c.kind === Upper.Icmp ? this.#icmp : undefined;
  }

  /** Bytes of the IP packet; of a superframe, of all of it. */
  get length(): number {
    return this.#c.end - this.#c.at;
  }

  /** Wire packets that it stands for: 1, but for superframes. */
  get segments(): number {
    return this.#c.pool.segments[this.#c.handle];
  }

  /** Bytes that its wire packets have together, headers and all. */
  get wireBytes(): number {
    const { at, payload, end } = this.#c;
    return end - at + (this.segments - 1) * (payload - at);
  }

  /** The IP packet, to keep; allocates. A checksum may be open still, where an offload was to fill it in. */
  copy(): Uint8Array {
    const { slab, at, end } = this.#c;
    this.#c.finish();
    return slab.slice(at, end);
  }

  /** The same into memory of the function's own, as much as fits; returns how much. Allocates nothing. */
  copyTo(into: Uint8Array): number {
    this.#c.finish();
    const { slab, at, end } = this.#c;
    const length = Math.min(end - at, into.length);
    for (let i = 0; i < length; i++) into[i] = slab[at + i];
    return length;
  }

  /**
   * Fills `key`, of KEY_CELLS, with the packet's endpoints and protocol (`datagramKey`): for classifiers.
   *
   * @returns 0 when it goes from the lower endpoint to the higher, 1 the other way, -1 without a key, -2 for a later fragment
   */
  flowKey(key: Int32Array): -2 | -1 | 0 | 1 {
    return datagramKey(this.#c.slab, this.#c.at, this.#c.end, key);
  }

  /**
   * Gives one end of the packet another address and port, also in the packet that an ICMP error quotes, where that end is the other
   * one. What has no ports gets the address alone.
   */
  translate(end: 'source' | 'destination', to: PacketEnd): void {
    this.#c.translate(end === 'source', to.words, to.port);
  }

  /** The packet's own, to keep; allocates. Port 0 where there is none. */
  end(end: 'source' | 'destination'): PacketEnd {
    const { ip } = this;
    const words = new Int32Array(4);
    for (let i = 0; i < (ip.version === 4 ? 1 : 4); i++)
      words[i] = end === 'source' ? ip.sourceWord(i) : ip.destinationWord(i);
    const ports = this.tcp ?? this.udp;
    const port = ports === undefined ? 0 : end === 'source' ? ports.sourcePort : ports.destinationPort;
    return { version: ip.version, words, port };
  }

  /** Source and destination change places, addresses and ports. For replies. */
  swapEnds(): void {
    const { slab, at, version } = this.#c;
    const size = version === 4 ? 4 : 16;
    const ends = this.#ends;
    const source = ip.sourceAt(slab, at);
    for (let i = 0; i < 2 * size; i++) ends[i] = slab[source + i];
    this.#c.putAddress(true, ends, size);
    this.#c.putAddress(false, ends, 0);
    const ports = this.tcp ?? this.udp;
    if (ports === undefined) return;
    const port = ports.sourcePort;
    ports.sourcePort = ports.destinationPort;
    ports.destinationPort = port;
  }
}
