/** Messages out of a byte stream: each has its length in front, four bytes, big-endian. */

export const HEADER_LENGTH = 4;
/** First piece of a message's memory; grows with what arrives, for an announced length costs its sender nothing. */
const FIRST_PIECE = 16 << 10;

export class MessageReader {
  readonly #limit: number;
  #header = 0;
  #headerBytes = 0;
  #body = new Uint8Array(0);
  #filled = 0;
  #message: Uint8Array | undefined;
  /** Set once a length over the limit was announced: nothing after it can be read. */
  tooLong = 0;

  /** @param limit longest message, bytes */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether the stream may not end here. */
  get insideMessage(): boolean {
    return this.#headerBytes > 0;
  }

  /**
   * Reads until a message is complete, the chunk is at its end, or the stream is spoilt.
   * @returns where it stopped in the chunk
   */
  read(chunk: Uint8Array, from: number): number {
    let at = from;
    while (this.#headerBytes < HEADER_LENGTH) {
      if (at >= chunk.length) return at;
      this.#header = ((this.#header << 8) | chunk[at++]) >>> 0;
      this.#headerBytes++;
    }
    if (this.#header > this.#limit) {
      this.tooLong = this.#header;
      return at;
    }
    const end = Math.min(chunk.length, at + this.#header - this.#filled);
    this.#reserve(this.#filled + end - at);
    this.#body.set(chunk.subarray(at, end), this.#filled);
    this.#filled += end - at;
    if (this.#filled === this.#header) {
      this.#message = this.#body.subarray(0, this.#filled);
      this.#header = this.#headerBytes = this.#filled = 0;
      this.#body = new Uint8Array(0);
    }
    return end;
  }

  /** The message that `read` has completed, once. */
  take(): Uint8Array | undefined {
    const message = this.#message;
    this.#message = undefined;
    return message;
  }

  #reserve(length: number): void {
    if (length <= this.#body.length) return;
    const size = Math.min(this.#header, Math.max(length, 2 * this.#body.length, FIRST_PIECE));
    const larger = new Uint8Array(size);
    larger.set(this.#body.subarray(0, this.#filled));
    this.#body = larger;
  }
}
