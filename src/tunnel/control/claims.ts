/**
 * What a newcomer may claim, and the newcomers who claim what another session holds: its holder is asked three
 * times, 200 ms apart. A word from the holder refuses the newcomer, silence hands over.
 */
import {
  equalIp,
  formatIp,
  type IpAddress,
  isLimitedBroadcast,
  isLoopback,
  isMulticast,
  isUnspecified,
} from '../../packet/address.ts';
import {
  addressBits,
  broadcastOf,
  contains,
  formatPrefix,
  type IpPrefix,
  networkOf,
} from '../../packet/prefix.ts';
import { MAX_TEXT, type Refusal } from './wire.ts';

/** What a HELLO from a proven address says. */
export interface ProvenHello {
  peer: number;
  nonceHigh: number;
  nonceLow: number;
  sequence: number;
  layer: number;
  mtu: number;
  keepalive: number;
  capabilities: number;
  addresses: readonly IpPrefix[];
  networks: readonly IpPrefix[];
}

/** A refusal before it is bytes. */
export interface Objection {
  code: Refusal;
  text: string;
}

export interface ClaimRules {
  layer: 2 | 3;
  addresses: readonly IpPrefix[];
  routes: readonly IpPrefix[];
}

/** Why a HELLO cannot be welcomed, whoever else is there; undefined when it can. */
export function objection(rules: ClaimRules, hello: ProvenHello): Objection | undefined {
  if (hello.layer !== rules.layer) {
    const [mine, theirs] =
      rules.layer === 3 ? ['IP packets', 'Ethernet frames'] : ['Ethernet frames', 'IP packets'];
    return {
      code: 'layer',
      text: `this server carries ${mine} (layer ${rules.layer}), the client ${theirs}`,
    };
  }
  if (rules.layer === 3 && hello.addresses.length === 0) {
    return { code: 'invalid', text: 'the client claims no inner address' };
  }
  for (const { address } of hello.addresses) {
    const problem = addressObjection(rules, address);
    if (problem) return problem;
  }
  for (const network of hello.networks) {
    const { routes } = rules;
    if (routes.some((prefix) => contains(prefix, network))) continue;
    const allowed =
      routes.length > 0 ? `is outside of ${list(routes)}` : 'is not routed: the server has no routes';
    return { code: 'outside', text: `network ${formatPrefix(network)} ${allowed}` };
  }
  return undefined;
}

function addressObjection({ addresses, routes }: ClaimRules, address: IpAddress): Objection | undefined {
  const host = formatIp(address);
  if (isUnspecified(address) || isLoopback(address) || isMulticast(address) || isLimitedBroadcast(address)) {
    return { code: 'invalid', text: `${host} cannot be a host's address` };
  }
  if (addresses.some((own) => equalIp(own.address, address))) {
    return { code: 'taken', text: `${host} is the server's own address` };
  }
  const own = addresses.filter((prefix) => contains(prefix, address));
  const edge = own.find((prefix) => isEdge(prefix, address));
  if (edge) {
    return { code: 'invalid', text: `${host} is the network or broadcast address of ${list([edge])}` };
  }
  if (own.length > 0 || routes.some((prefix) => contains(prefix, address))) return undefined;
  return { code: 'outside', text: `${host} is outside of ${list([...addresses, ...routes])}` };
}

/** The network's own and the broadcast address (IPv4), or the routers' anycast address (IPv6). */
function isEdge(prefix: IpPrefix, address: IpAddress): boolean {
  // RFC 3021, RFC 6164: in the longest prefixes both addresses are hosts.
  if (prefix.length > addressBits(address.family) - 2) return false;
  if (equalIp(networkOf(prefix).address, address)) return true;
  return address.family === 4 && equalIp(broadcastOf(prefix), address);
}

/** Prefixes for people, as many as a refusal has room for. */
function list(prefixes: readonly IpPrefix[]): string {
  let text = '';
  for (const prefix of prefixes) {
    const next = `${text === '' ? '' : ', '}${formatPrefix(networkOf(prefix))}`;
    if (text.length + next.length > MAX_TEXT / 2) return `${text}, ...`;
    text += next;
  }
  return text === '' ? 'what the server serves' : text;
}

const ASK_TIMES = 3;
const ASK_INTERVAL = 200e6;

/** A newcomer who waits. */
export interface PendingClaim extends ProvenHello {
  /** When it came: a holder heard later than this is alive. */
  since: number;
  asked: number;
  deadline: number;
  /** Tokens (lower halves) of the sessions that hold what is claimed. */
  holders: readonly number[];
}

/** A bounded set of waiting newcomers, by pinned peer. */
export class PendingClaims {
  readonly #claims = new Map<number, PendingClaim>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#claims.size;
  }

  get full(): boolean {
    return this.#claims.size >= this.#limit;
  }

  /** A copy, so that claims may be removed while it is walked. */
  all(): PendingClaim[] {
    return [...this.#claims.values()];
  }

  find(peer: number): PendingClaim | undefined {
    return this.#claims.get(peer);
  }

  add(now: number, hello: ProvenHello, holders: readonly number[]): void {
    this.#claims.set(hello.peer, { ...hello, since: now, asked: 0, deadline: now, holders });
  }

  remove(claim: PendingClaim): void {
    this.#claims.delete(claim.peer);
  }

  /** Is it time to ask the holders (again)? Counts as asked when it is. */
  mayAsk(now: number, claim: PendingClaim): boolean {
    if (now < claim.deadline || claim.asked === ASK_TIMES) return false;
    claim.asked++;
    claim.deadline = now + ASK_INTERVAL;
    return true;
  }

  /** Have the holders been asked as often and for as long as they deserve? */
  exhausted(now: number, claim: PendingClaim): boolean {
    return claim.asked === ASK_TIMES && now >= claim.deadline;
  }

  deadline(): number {
    let first = Infinity;
    for (const claim of this.#claims.values()) first = Math.min(first, claim.deadline);
    return first;
  }
}
