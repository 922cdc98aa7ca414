/**
 * What a control plane needs of the world: datagrams, channels of messages, and storage. Everything is callbacks:
 * protocol cores are synchronous state machines, and promises would tie their order to Node's queues.
 *
 * Three rules hold for every one of them, on the machine and in virtual time:
 * - no handler is called from within a call: sending, closing or syncing never re-enters its caller;
 * - bytes that are passed in are copied before the call returns, bytes that are passed out belong to who gets them;
 * - after `close()` no handler is called any more.
 *
 * Addresses are text: `10.0.0.1:53`, `[::1]:53`, for channels also the path of a Unix socket (whatever has a slash).
 */
import { TunconnectorError } from '../errors.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../packet/prefix.ts';

export interface Outside {
  /**
   * A UDP socket. Port 0 takes a free one.
   * @throws ERR_PORT_IN_USE, ERR_PERMISSION, ERR_SOCKET, ERR_ADDRESS
   */
  datagrams(bind: string, handlers: DatagramHandlers, options?: DatagramOptions): DatagramSocket;
  /** Takes channels that others open. What goes wrong comes to `onError`. @throws ERR_ADDRESS */
  listen(bind: string, handlers: ListenHandlers, options?: ListenOptions): Listener;
  /** Opens a channel. It may be sent on at once. What goes wrong comes to `onClose`. @throws ERR_ADDRESS */
  connect(to: string, handlers: ChannelHandlers, options?: ConnectOptions): Channel;
  /** Files under a name of their own, kept from run to run. @throws ERR_CONFIG */
  storage(name: string): Storage;
}

// ── Datagrams: each may be lost, doubled or overtaken

export interface DatagramHandlers {
  onMessage(from: string, bytes: Uint8Array): void;
  /** A datagram could not be sent (ERR_SOCKET); the socket goes on. Without it, it is only counted. */
  onError?(error: TunconnectorError): void;
  /**
   * A datagram came back from `to`: nobody listens there (ICMP port unreachable). Told in simulated hosts; the system tells no
   * socket that is not connected, and a `udp` port counts refusals in its own way.
   */
  onRefused?(to: string): void;
}

export interface DatagramOptions {
  /** Bytes that wait to be sent before further datagrams are dropped; default 1 MiB. */
  queueLimit?: number;
}

export interface DatagramCounters {
  /** Given to the network. */
  sent: number;
  received: number;
  /** Not sent, since the queue was full. */
  dropped: number;
  /** Not sent, since the system refused: too long, no route, wrong address family. */
  failed: number;
}

export interface DatagramSocket {
  /** Where it is bound, with the port that it got. */
  readonly address: string;
  readonly counters: Readonly<DatagramCounters>;
  /** Does nothing after `close()`. @throws ERR_ADDRESS */
  send(to: string, bytes: Uint8Array): void;
  close(): void;
}

// ── Channels: messages arrive whole, once and in order, or the channel ends

export interface ChannelHandlers {
  /** The other end is there. Not called for accepted channels, which are open from the start. */
  onOpen?(): void;
  onMessage(bytes: Uint8Array): void;
  /** After `send` returned false: there is room again. */
  onDrain?(): void;
  /**
   * Once, as the last call: without an error when the other end closed it, otherwise with ERR_SOCKET. Messages that were
   * sent and not answered may or may not have arrived.
   */
  onClose(error?: TunconnectorError): void;
}

export interface ChannelOptions {
  /** Longest message in bytes, either way; default 16 MiB. A peer that announces a longer one loses the channel. */
  maxMessage?: number;
  /** Bytes that wait to be sent before `send` refuses; default 1 MiB. A single longer message is taken when none waits. */
  bufferLimit?: number;
}

export interface ConnectOptions extends ChannelOptions {
  /** Local address to connect from (`10.0.0.1:0`); the system's choice when left out. Not for Unix sockets. */
  bind?: string;
  /** How long the other end may take to answer, ns; default 10 s. */
  timeout?: number;
}

export interface ListenOptions extends ChannelOptions {
  /** Open channels at a time; further ones are closed at once. Default 1024. */
  maxChannels?: number;
}

export interface Channel {
  /** The other end's address; of an accepted Unix socket its path. */
  readonly peer: string;
  /** Bytes that wait to be sent. */
  readonly buffered: number;
  /**
   * True: the message is taken. False: it is not, since the buffer is full (`onDrain` will say when to try again) or
   * the channel has ended.
   * @throws ERR_LIMIT for a message longer than `maxMessage`
   */
  send(bytes: Uint8Array): boolean;
  /** No more `onMessage` until `resume()`; the other end feels it as back-pressure. */
  pause(): void;
  resume(): void;
  /** Ends it for both ends. What was sent before still arrives, if the other end takes it within 5 s. */
  close(): void;
}

export interface ListenHandlers {
  /** A channel has come. Returns its handlers, or nothing to turn it away. */
  onChannel(channel: Channel): ChannelHandlers | undefined;
  /** From now on others can connect. `address` has the port that it got. */
  onListening?(address: string): void;
  /** It does not listen, or no more: ERR_PORT_IN_USE, ERR_PERMISSION, ERR_SOCKET. */
  onError?(error: TunconnectorError): void;
}

export interface Listener {
  /** Where it listens; empty before `onListening`. */
  readonly address: string;
  /** Channels that came through it stay. */
  close(): void;
}

// ── Storage: a folder of files that survive a crash as far as they were synced

/**
 * Names are letters, digits, `.`, `_`, `-`, at most 100, and do not start with a dot. What is asked of one file happens in
 * the order of the calls; different files do not wait for one another. Errors are ERR_STORAGE.
 *
 * Appends are all or nothing between two syncs: when one of them or the sync fails, the file is put back to what the last good
 * sync left; every sync that waits is told so, and what was appended meanwhile is gone too. A crash may leave any part of what was
 * appended since then, down to a part of a record or zeros in its place: records want a length and a checksum.
 */
export interface Storage {
  readonly name: string;
  /** Adds to the end of a file, which is made if need be. Not durable, and not known to have worked, before `sync`. */
  append(file: string, bytes: Uint8Array): void;
  /** Calls back when all that was appended before is durable. */
  sync(file: string, done: StorageDone): void;
  /** The whole file; undefined when there is none. */
  read(
    file: string,
    done: (error: TunconnectorError | undefined, bytes: Uint8Array | undefined) => void,
  ): void;
  /** A new content for the whole file, durable when it calls back. A crash leaves the old or the new, never a mixture. */
  replace(file: string, bytes: Uint8Array, done: StorageDone): void;
  /** Cuts the file to its first `length` bytes, durably: for a torn end after a crash. */
  truncate(file: string, length: number, done: StorageDone): void;
  /** Durable when it calls back. A file that is not there is no error. */
  remove(file: string, done: StorageDone): void;
  /** Names of the files, sorted, after everything asked before. */
  list(done: (error: TunconnectorError | undefined, files: string[]) => void): void;
}

export type StorageDone = (error?: TunconnectorError) => void;

// ── What both implementations share

export const DEFAULT_QUEUE_LIMIT = 1 << 20;
const DEFAULT_BUFFER_LIMIT = 1 << 20;
const DEFAULT_MAX_MESSAGE = 16 << 20;
export const DEFAULT_MAX_CHANNELS = 1024;
/** ns */
export const DEFAULT_CONNECT_TIMEOUT = 10_000_000_000;
/** sockaddr_un's sun_path, with its terminator. */
const MAX_PATH = 108;
/** UDP payload in an IPv4 packet; IPv6 has no header in the length field, and so 20 bytes more. */
export const maxDatagram = (family: 4 | 6): number => (family === 4 ? 65507 : 65527);

/** Where a channel leads to: a path, or an endpoint. */
export type Place = UnixPath | Endpoint;

export interface UnixPath {
  readonly path: string;
}

export const isPath = (place: Place): place is UnixPath => 'path' in place;

/** @throws ERR_ADDRESS */
export function parsePlace(text: string): Place {
  if (typeof text !== 'string' || !text.includes('/')) return parseEndpoint(text);
  const length = new TextEncoder().encode(text).length;
  if (length >= MAX_PATH || text.includes('\0')) {
    throw new TunconnectorError('ERR_ADDRESS', `${JSON.stringify(text)} is not the path of a Unix socket`, {
      remedy: `choose one of at most ${MAX_PATH - 1} bytes`,
    });
  }
  return { path: text };
}

export const formatPlace = (place: Place): string => (isPath(place) ? place.path : formatEndpoint(place));

/** @throws ERR_CONFIG */
export function checkStorageName(name: string, what: string): void {
  if (typeof name === 'string' && /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(name)) return;
  throw new TunconnectorError(
    'ERR_CONFIG',
    `found the ${what} ${JSON.stringify(name)}, expected at most 100 letters, digits, ".", "_", "-", and no dot in front`,
  );
}

export type ChannelLimits = Required<ChannelOptions>;

export const limitsOf = (options: ChannelOptions): ChannelLimits => ({
  maxMessage: options.maxMessage ?? DEFAULT_MAX_MESSAGE,
  bufferLimit: options.bufferLimit ?? DEFAULT_BUFFER_LIMIT,
});

/** What a channel ends with whose other end does not keep to the limit. */
export const tooLong = (peer: string, length: number, maximum: number): TunconnectorError =>
  new TunconnectorError(
    'ERR_SOCKET',
    `${peer} announced a message of ${length} bytes, the limit is ${maximum}`,
    {
      remedy: 'raise maxMessage, or see who is connected there',
    },
  );

/** @throws ERR_LIMIT */
export function checkMessageLength(length: number, maximum: number): void {
  if (length <= maximum) return;
  throw new TunconnectorError(
    'ERR_LIMIT',
    `a message of ${length} bytes is longer than the channel's ${maximum}`,
    { remedy: 'raise maxMessage at both ends, or send it in parts' },
  );
}
