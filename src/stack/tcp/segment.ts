/** The segment that is being looked at. One object for all of them: filled anew by `read`. */
import * as tcp from '../../packet/tcp.ts';
import { get16, getInt32 } from '../../packet/word.ts';

/** RFC 2018: four blocks fit into a header. */
const SACK_BLOCKS = 4;

export class Segment {
  seq = 0;
  ack = 0;
  flags = 0;
  /** As sent: not scaled. */
  window = 0;
  /** Where the payload is in the slab, and its bytes. */
  data = 0;
  length = 0;
  /** The ECN bits of the IP header. */
  ecn = 0;
  /** Wire packets it stands for. */
  segments = 1;
  /** 0: no such option. */
  mss = 0;
  /** -1: no such option. */
  scale = -1;
  sackPermitted = false;
  timestamps = false;
  tsval = 0;
  tsecr = 0;
  /** Left and right edges. */
  readonly sack = new Int32Array(2 * SACK_BLOCKS);
  sackBlocks = 0;

  /** Reads a header that `tcp.check` has passed. False when an option does not fit. */
  read(bytes: Uint8Array, at: number, end: number): boolean {
    this.seq = getInt32(bytes, at + tcp.SEQUENCE);
    this.ack = getInt32(bytes, at + tcp.ACKNOWLEDGMENT);
    this.flags = bytes[at + tcp.FLAGS];
    this.window = get16(bytes, at + tcp.WINDOW);
    const header = tcp.headerLength(bytes, at);
    this.data = at + header;
    this.length = end - at - header;
    this.mss = 0;
    this.scale = -1;
    this.sackPermitted = false;
    this.timestamps = false;
    this.tsecr = 0;
    this.sackBlocks = 0;
    const options = at + header;
    let option = at + tcp.OPTIONS;
    // RFC 7323, appendix A: what nearly every segment has, and nothing else.
    if (header === 32 && getInt32(bytes, option) === 0x0101080a) {
      this.timestamps = true;
      this.tsval = getInt32(bytes, option + 4);
      this.tsecr = getInt32(bytes, option + 8);
      return true;
    }
    while (option < options) {
      const next = tcp.nextOption(bytes, option, options);
      if (next < 0) return false;
      this.#option(bytes, option, next - option);
      option = next;
    }
    return true;
  }

  #option(bytes: Uint8Array, at: number, length: number): void {
    switch (bytes[at]) {
      case tcp.Option.Mss:
        if (length === 4) this.mss = get16(bytes, at + 2);
        break;
      case tcp.Option.WindowScale:
        // RFC 7323, 2.3: more than 14 is taken for 14.
        if (length === 3) this.scale = Math.min(bytes[at + 2], 14);
        break;
      case tcp.Option.SackPermitted:
        if (length === 2) this.sackPermitted = true;
        break;
      case tcp.Option.Timestamps:
        if (length !== 10) break;
        this.timestamps = true;
        this.tsval = getInt32(bytes, at + 2);
        this.tsecr = getInt32(bytes, at + 6);
        break;
      case tcp.Option.Sack:
        if (length % 8 !== 2) break;
        for (let block = at + 2; block < at + length && this.sackBlocks < SACK_BLOCKS; block += 8) {
          this.sack[2 * this.sackBlocks] = getInt32(bytes, block);
          this.sack[2 * this.sackBlocks + 1] = getInt32(bytes, block + 4);
          this.sackBlocks++;
        }
    }
  }
}
