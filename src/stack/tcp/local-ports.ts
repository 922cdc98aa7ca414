/** Ports of this host that programs did not choose themselves (RFC 6056), and those that they did. */
import { TunconnectorError } from '../../errors.ts';
import type { IpBelow, Route } from './below.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';
import type { Listeners } from './listeners.ts';
import { keyOf } from './row.ts';
import type { Secrets } from './secrets.ts';
import { SECOND } from './settings.ts';
import type { TimeWait } from './time-wait.ts';

/** RFC 6056, 3.2: the largest range that keeps away from well-known ports and from Linux's. */
const FIRST_PORT = 32_768;
const PORTS = 65_536 - FIRST_PORT;

/** @throws ERR_CONFIG */
export function checkPort(port: number, least: number): void {
  if (!Number.isInteger(port) || port < least || port > 65_535)
    throw new TunconnectorError('ERR_CONFIG', `port: found ${port}, expected ${least} to 65535`);
}

export class LocalPorts {
  readonly #connections: Connections;
  readonly #listeners: Listeners;
  readonly #secrets: Secrets;
  #next = 0;

  constructor(connections: Connections, listeners: Listeners, secrets: Secrets) {
    this.#connections = connections;
    this.#listeners = listeners;
    this.#secrets = secrets;
  }

  /**
   * Writes the key of a connection that opens. RFC 6056, 3.3.3; a port whose last connection to the same place is in TIME-WAIT
   * only when there is no other.
   *
   * @throws ERR_PORT_IN_USE
   */
  choose(c: Connection, route: Route, port: number, wanted: number | undefined, now: number): void {
    const { key } = c;
    const { table } = this.#connections;
    if (wanted !== undefined) {
      keyOf(route.source, wanted, route.destination, port, key);
      const row = table.find(key);
      if (row === null) return;
      if (this.#reusable(row as Connection | TimeWait, now)) return;
      throw new TunconnectorError('ERR_PORT_IN_USE', `port ${wanted} has a connection there already`);
    }
    keyOf(route.source, 0, route.destination, port, key);
    const start = (this.#secrets.port(key) + this.#next++) >>> 0;
    for (const reuse of [false, true]) {
      for (let i = 0; i < PORTS; i++) {
        const local = FIRST_PORT + ((start + i) % PORTS);
        if (this.#listeners.has(local)) continue;
        key[8] = (local << 16) | port;
        const row = table.find(key);
        if (row === null || (reuse && this.#reusable(row as Connection | TimeWait, now))) {
          this.#next = (this.#next + i) | 0;
          return;
        }
      }
    }
    throw new TunconnectorError('ERR_PORT_IN_USE', `all ports from ${FIRST_PORT} on have a connection there`);
  }

  /** RFC 6191, seen from the side that connects: time stamps tell new segments from old ones. Its row ends. */
  #reusable(row: Connection | TimeWait, now: number): boolean {
    if (!row.timeWait) return false;
    const waits = row as TimeWait;
    if (!waits.timestampsOk || waits.until - now > 59 * SECOND) return false;
    this.#connections.timeWaits.remove(waits);
    return true;
  }

  /** One that nobody listens on. @throws ERR_PORT_IN_USE */
  toListen(below: IpBelow): number {
    const start = below.secret(2);
    const first = (start[0] << 8) | start[1];
    for (let i = 0; i < PORTS; i++) {
      const port = FIRST_PORT + ((first + i) % PORTS);
      if (!this.#listeners.has(port)) return port;
    }
    throw new TunconnectorError('ERR_PORT_IN_USE', 'somebody listens on every port');
  }
}
