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

/** What somebody on the way, or the host, says of an echo request: type and code of ICMP or ICMPv6. */
export interface EchoError {
  type: number;
  code: number;
  /** 4 or 16 bytes. */
  from: Uint8Array;
}

export interface OutwardEchoes {
  /** Sends an echo request with a TTL. @returns undefined, or Node's code */
  send(sequence: number, data: Uint8Array, ttl: number): string | undefined;
  close(): void;
}

export interface OutwardEchoHandlers {
  /** @param ttl with which it came @param data the receiver's */
  onReply(sequence: number, data: Uint8Array, ttl: number): void;
  onError(sequence: number, error: EchoError): void;
  /** It is closed. @param error Node's code */
  onFailed(error: string): void;
}

export interface Outward {
  /** @param address as text */
  connect(address: string, port: number, handlers: OutwardHandlers): OutwardConnection;
  datagrams(address: string, port: number, handlers: OutwardDatagramHandlers): OutwardDatagrams;
  /** For pings to one host. @returns Node's code when there is none to be had: EPERM and EACCES where this process may have none */
  echoes(address: string, handlers: OutwardEchoHandlers): OutwardEchoes | string;
  /** Of this machine, as text, as they are now. */
  ownAddresses(): string[];
}
