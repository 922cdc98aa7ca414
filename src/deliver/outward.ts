/** The sockets of a delivery, as it sees them: the machine's, or those of a test. All calls are synchronous. */

export interface OutwardHandlers {
  onConnected(): void;
  /**
   * Bytes came; they are good for the length of the call.
   *
   * @returns false: no more until `resume`
   */
  onData(bytes: Uint8Array): boolean;
  /** The other side has ended its direction. */
  onEnd(): void;
  /** What was written has gone on; `write` may be called again. */
  onDrain(): void;
  /** It is gone. @param error Node's code, such as `ECONNREFUSED`; undefined when both directions had ended */
  onClosed(error: string | undefined): void;
}

export interface OutwardConnection {
  /** Takes all of the bytes, which are its own from here on. False: wait for `onDrain` before the next. */
  write(bytes: Uint8Array): boolean;
  end(): void;
  /** Ends it at once, with a RST; while it is being opened, without. `onClosed` is not called. */
  reset(): void;
  resume(): void;
}

export interface OutwardDatagrams {
  /** False: too many wait already. */
  send(bytes: Uint8Array): boolean;
  close(): void;
}

export interface OutwardDatagramHandlers {
  /** The bytes are the receiver's. */
  onMessage(bytes: Uint8Array): void;
  /** A datagram did not arrive, or no socket is to be had. @param error Node's code */
  onError(error: string): void;
}

export interface Outward {
  /** @param address as text */
  connect(address: string, port: number, handlers: OutwardHandlers): OutwardConnection;
  datagrams(address: string, port: number, handlers: OutwardDatagramHandlers): OutwardDatagrams;
  /** Of this machine, as text, as they are now. */
  ownAddresses(): string[];
}
