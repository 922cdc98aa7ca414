/** Whom a datagram came from. Its text is made when somebody asks. */
import { formatIpAt } from '../../packet/address.ts';

export class UdpPeer {
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  readonly port: number;

  constructor(bytes: Uint8Array, port: number) {
    this.bytes = bytes;
    this.port = port;
  }

  get family(): 4 | 6 {
    return this.bytes.length === 4 ? 4 : 6;
  }

  get address(): string {
    return formatIpAt(this.bytes, 0, this.family);
  }

  /** `10.0.0.1:53`, `[2001:db8::1]:53`. */
  toString(): string {
    return this.family === 4 ? `${this.address}:${this.port}` : `[${this.address}]:${this.port}`;
  }
}
