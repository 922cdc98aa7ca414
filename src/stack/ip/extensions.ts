/**
 * The walk over the extension headers of an IPv6 packet to this host (RFC 8200, 4), as far as a host that knows no
 * options has to look at them. It allocates nothing; what it finds stands in fields.
 */
import * as ipv6 from '../../packet/ipv6.ts';
import { Protocol } from '../../packet/protocol.ts';

/** What the walk says. */
export const Walk = {
  /** The upper layer is at `header`. */
  Upper: 0,
  /** A fragment header is at `header`. */
  Fragment: 1,
  /** To be dropped without a word. */
  Drop: 2,
  /** To be dropped, and its sender told: a field (code 0), a next header (1) or an option (2), at `pointer`. */
  BadField: 3,
  BadNextHeader: 4,
  BadOption: 5,
} as const;
export type Walk = (typeof Walk)[keyof typeof Walk];

/** RFC 8504, 5.3: a host may limit what it looks at. */
const MOST_HEADERS = 8;
const MOST_OPTIONS = 64;
const PAD1 = 0;
const PADN = 1;
const ROUTER_ALERT = 5;

export class Extensions {
  protocol = 0;
  /** Where the header of `protocol` starts, in the bytes. */
  header = 0;
  /** Where the field is that names it. */
  nextHeaderAt = 0;
  /** Where the trouble is, from the start of the packet. */
  pointer = 0;

  walk(bytes: Uint8Array, at: number, end: number): Walk {
    this.nextHeaderAt = at + ipv6.NEXT_HEADER;
    this.header = at + ipv6.HEADER;
    this.protocol = bytes[this.nextHeaderAt];
    for (let count = 0; count <= MOST_HEADERS; count++) {
      const { protocol, header } = this;
      // Hop-by-hop options stand first, or nowhere.
      if (protocol === Protocol.HopByHop && count > 0)
        return this.#bad(Walk.BadNextHeader, this.nextHeaderAt, at);
      const options = protocol === Protocol.HopByHop || protocol === Protocol.DestinationOptions;
      if (!options && protocol !== Protocol.Routing && protocol !== Protocol.Fragment) return Walk.Upper;
      if (header + 8 > end) return Walk.Drop;
      const length = ipv6.extensionLength(bytes, header, protocol);
      if (header + length > end) return Walk.Drop;
      if (options) {
        const found = this.#options(bytes, header + 2, header + length, at);
        if (found !== Walk.Upper) return found;
      } else if (protocol === Protocol.Routing) {
        // No type is known here; with no segments left it does not matter (RFC 8200, 4.4; RFC 5095).
        if (bytes[header + 3] !== 0) return this.#bad(Walk.BadField, header + 2, at);
      } else if (ipv6.fragmentOffset(bytes, header) > 0 || ipv6.moreFragments(bytes, header)) {
        return Walk.Fragment;
      }
      this.nextHeaderAt = header;
      this.protocol = bytes[header];
      this.header = header + length;
    }
    return Walk.Drop;
  }

  /** RFC 8200, 4.2: the two high bits of an unknown option say what becomes of the packet. */
  #options(bytes: Uint8Array, from: number, end: number, at: number): Walk {
    let option = from;
    for (let count = 0; option < end; count++) {
      if (count > MOST_OPTIONS) return Walk.Drop;
      const type = bytes[option];
      if (type === PAD1) {
        option++;
        continue;
      }
      if (option + 2 > end || option + 2 + bytes[option + 1] > end) return Walk.Drop;
      if (type !== PADN && type !== ROUTER_ALERT && type >> 6 !== 0) {
        const toGroup = bytes[at + ipv6.DESTINATION] === 0xff;
        if (type >> 6 === 1 || (type >> 6 === 3 && toGroup)) return Walk.Drop;
        return this.#bad(Walk.BadOption, option, at);
      }
      option += 2 + bytes[option + 1];
    }
    return Walk.Upper;
  }

  #bad(what: Walk, where: number, at: number): Walk {
    this.pointer = where - at;
    return what;
  }
}
