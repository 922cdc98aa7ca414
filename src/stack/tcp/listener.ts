/** A port on which connections are taken. */
import { formatIp, toIp } from '../../packet/address.ts';
import type { Connection, TcpHandlers } from './connection.ts';
import type { TcpSettings } from './settings.ts';

export class TcpListener {
  /** Bytes of the only address; undefined: any. */
  readonly local: Uint8Array | undefined;
  readonly port: number;
  readonly backlog: number;
  readonly settings: TcpSettings;
  /** Handshakes under way. Over the backlog there are only SYN cookies. */
  pending = 0;
  /** When there were too many last: ns. Only then a cookie is believed. */
  overflowed = Number.NEGATIVE_INFINITY;
  accepted = 0;
  cookies = 0;
  closed = false;
  readonly onConnection: (connection: Connection) => TcpHandlers | undefined;
  readonly #close: (listener: TcpListener) => void;

  constructor(
    local: Uint8Array | undefined,
    port: number,
    backlog: number,
    settings: TcpSettings,
    onConnection: (connection: Connection) => TcpHandlers | undefined,
    close: (listener: TcpListener) => void,
  ) {
    this.local = local;
    this.port = port;
    this.backlog = backlog;
    this.settings = settings;
    this.onConnection = onConnection;
    this.#close = close;
  }

  get address(): string | undefined {
    return this.local && formatIp(toIp({ family: this.local.length === 4 ? 4 : 6, bytes: this.local }));
  }

  /** Takes no more connections. Those there are stay; handshakes that are under way end. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#close(this);
  }
}
