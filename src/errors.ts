/**
 * The one error class of this library. A bad packet is never an error: it is dropped and counted. An error is
 * something a person has to act on, so its message is one line that names the cause and the remedy.
 */

/** Stable codes. Programs may test for them; messages may change. */
export type ErrorCode =
  | 'ERR_NATIVE' // the native addon is missing or does not load
  | 'ERR_PLATFORM' // not Linux
  | 'ERR_PERMISSION' // CAP_NET_ADMIN or a file's mode is missing
  | 'ERR_TUN_OPEN' // /dev/net/tun, name taken, name too long
  | 'ERR_INTERFACE' // an interface is missing or cannot be configured
  | 'ERR_SOCKET' // bind, connect, listen
  | 'ERR_PORT_IN_USE' // another program holds the UDP or TCP port
  | 'ERR_ADDRESS' // an address or prefix cannot be parsed
  | 'ERR_CONFIG' // a configuration does not fit; names file, path, found, expected
  | 'ERR_USAGE' // a command line cannot be understood
  | 'ERR_LIMIT' // a configuration needs more memory than the network has; holds the arithmetic
  | 'ERR_LOOP' // a network never settles within one instant of virtual time
  | 'ERR_HANDLE' // debug builds: a packet was freed twice, used after its end, or leaked
  | 'ERR_CAPTURE' // a pcap or pcapng file cannot be read or written
  | 'ERR_STORAGE' // a file of a control plane cannot be read, written or synced: full disk, no right, broken disk
  | 'ERR_UNREACHABLE' // a server that is needed does not answer
  | 'ERR_RESOLVE' // a host name does not resolve
  | 'ERR_REFUSED' // the peer refused: its address is taken, or it is full
  | 'ERR_COMMAND' // a system program (ip, nft) is missing or failed
  | 'ERR_TOKEN' // a request without the token, or with a wrong one
  | 'ERR_FORBIDDEN' // a request with a token that is for something else
  | 'ERR_HOST' // a request for a host that this is not
  | 'ERR_ORIGIN' // a request that another site's page made
  | 'ERR_NOT_FOUND' // there is nothing of that name
  | 'ERR_REVISION' // what was to be changed has changed meanwhile
  | 'ERR_BUSY' // as many as there may be are served already
  | 'ERR_CLOSED' // used after close()
  | 'ERR_ABORTED'; // an AbortSignal fired

/** What does not fit in a configuration, apart from the message that says the same. */
export interface Place {
  /** Keys and indices with dots between, e.g. `rules.3.up.0.time`; empty for the whole. */
  path: string;
  found?: string;
  expected?: string;
}

export interface ErrorDetails {
  /** What a person can do about it: an imperative clause, no full stop. Appended to the message after "; ". */
  remedy?: string;
  cause?: unknown;
  /** The system call that failed, e.g. `ioctl(TUNSETIFF)`. */
  syscall?: string;
  /** Name of the system's error, e.g. `EPERM`. */
  errno?: string;
  /** Of ERR_CONFIG, where it can be told. */
  place?: Place;
}

export class TunconnectorError extends Error {
  override readonly name = 'TunconnectorError';
  readonly code: ErrorCode;
  readonly syscall: string | undefined;
  readonly errno: string | undefined;
  readonly remedy: string | undefined;
  readonly place: Place | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(details.remedy ? `${message}; ${details.remedy}` : message, { cause: details.cause });
    this.code = code;
    this.syscall = details.syscall;
    this.errno = details.errno;
    this.remedy = details.remedy;
    this.place = details.place;
  }
}
