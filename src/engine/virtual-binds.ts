/** Which socket has which address and port, in virtual time, by Linux's rules. */
import { TunconnectorError } from '../errors.ts';
import { formatIp, isUnspecified } from '../packet/address.ts';
import { type Endpoint, formatEndpoint } from '../packet/prefix.ts';

/** First port that is given out for port 0 (RFC 6335, 6). */
export const FIRST_FREE_PORT = 49152;

export /** Who is bound to which address and port. */
class Binds<T> {
  readonly #kind: string;
  readonly #byPort = new Map<number, Map<string, { endpoint: Endpoint; owner: T }>>();

  constructor(kind: string) {
    this.#kind = kind;
  }

  /** The endpoint, with a free port for port 0. @throws ERR_PORT_IN_USE */
  choose(wanted: Endpoint, nextPort: () => number): Endpoint {
    if (wanted.port > 0) {
      if (this.#isTaken(wanted)) throw portInUse(formatEndpoint(wanted), this.#kind);
      return wanted;
    }
    for (let tries = FIRST_FREE_PORT; tries <= 65535; tries++) {
      const endpoint = { address: wanted.address, port: nextPort() };
      if (!this.#isTaken(endpoint)) return endpoint;
    }
    throw portInUse(formatEndpoint(wanted), this.#kind);
  }

  add(endpoint: Endpoint, owner: T): void {
    let there = this.#byPort.get(endpoint.port);
    if (!there) this.#byPort.set(endpoint.port, (there = new Map()));
    there.set(formatIp(endpoint.address), { endpoint, owner });
  }

  remove({ address, port }: Endpoint): void {
    this.#byPort.get(port)?.delete(formatIp(address));
  }

  /** Who is reached there: bound to the address, or to all of its family; IPv6's "all" takes IPv4 too, as on Linux. */
  find({ address, port }: Endpoint): T | undefined {
    const there = this.#byPort.get(port);
    const found =
      there?.get(formatIp(address)) ??
      (address.family === 4 ? there?.get('0.0.0.0') : undefined) ??
      there?.get('::');
    return found?.owner;
  }

  #isTaken({ address, port }: Endpoint): boolean {
    for (const { endpoint } of this.#byPort.get(port)?.values() ?? []) {
      const other = endpoint.address;
      if (formatIp(other) === formatIp(address)) return true;
      const [wide, narrow] = isUnspecified(other) ? [other, address] : [address, other];
      if (isUnspecified(wide) && (wide.family === 6 || narrow.family === 4)) return true;
    }
    return false;
  }
}

export function portInUse(address: string, kind = 'Unix'): TunconnectorError {
  return new TunconnectorError(
    'ERR_PORT_IN_USE',
    `the ${kind} address ${address} is taken by another socket`,
    {
      errno: 'EADDRINUSE',
      remedy: 'choose another, or close that one',
    },
  );
}
