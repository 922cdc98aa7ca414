/**
 * Which addresses are this host's, and where packets for others leave. Tables are made anew when the configuration
 * changes; `generation` counts that, and routes that were handed out are stale then.
 */
import type { AddressBook } from '../../engine/address-book.ts';
import { type IpAddress, isLoopback, parseIp } from '../../packet/address.ts';
import { addressBits, broadcastOf, type IpPrefix } from '../../packet/prefix.ts';
import { PrefixTable } from '../../packet/prefix-table.ts';
import { type InterfaceSettings, onLink, type RouteSettings } from '../options.ts';
import type { Route } from '../tcp/below.ts';
import type { PathMtus } from './path-mtu.ts';

/** How an address of this host is meant. */
export const Cast = { Unicast: 0, Broadcast: 1, Multicast: 2 } as const;
/** No interface: this host itself. */
export const LOOPBACK = -1;
/** Longest packet from this host to itself. */
const LOOPBACK_MTU = 65_535;

const GROUPS = ['255.255.255.255', '224.0.0.1', 'ff01::1', 'ff02::1'].map((text) => parseIp(text));
const LOOPBACKS: readonly IpPrefix[] = [
  { address: parseIp('127.0.0.0'), length: 8 },
  { address: parseIp('::1'), length: 128 },
];

/** Where packets of one route leave. */
export interface Hop {
  /** Index, or LOOPBACK. */
  readonly interface: number;
  /** The gateway as a row of the pool's addresses; -1: the destination is on the link. */
  readonly peer: number;
  /** The gateway's address. */
  readonly via: Uint8Array | undefined;
}

const HERE: Hop = { interface: LOOPBACK, peer: -1, via: undefined };

/** A way to one destination, as transports keep it. */
export class PathRoute implements Route {
  readonly family: 4 | 6;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly superframes: boolean;
  readonly hop: Hop;
  mtu: number;
  readonly #routing: Routing;
  readonly #generation: number;

  constructor(
    routing: Routing,
    hop: Hop,
    source: Uint8Array,
    destination: Uint8Array,
    mtu: number,
    superframes: boolean,
  ) {
    this.#routing = routing;
    this.#generation = routing.generation;
    this.family = destination.length === 4 ? 4 : 6;
    this.hop = hop;
    this.source = source;
    this.destination = destination;
    this.mtu = mtu;
    this.superframes = superframes;
  }

  get stale(): boolean {
    return this.#generation !== this.#routing.generation;
  }
}

export class Routing {
  interfaces: readonly InterfaceSettings[] = [];
  /** Whether this host stands for all others. */
  readonly #captive: boolean;
  /** Counts changes of addresses, routes and path MTUs. */
  generation = 0;
  readonly #paths: PathMtus;
  readonly #book: AddressBook;
  /** By family: addresses of this host, with their Cast. */
  #own = tables();
  /** By family: the number of a hop. */
  #routes = tables();
  #hops: Hop[] = [HERE];

  constructor(paths: PathMtus, book: AddressBook, captive = false) {
    this.#captive = captive;
    this.#paths = paths;
    this.#book = book;
  }

  /** Takes a new configuration over. @throws ERR_LIMIT for more gateways than the address book keeps */
  configure(interfaces: readonly InterfaceSettings[], routes: readonly RouteSettings[]): void {
    const before = this.#hops;
    this.interfaces = interfaces;
    this.#own = tables();
    this.#routes = tables();
    this.#hops = [HERE];
    this.generation++;
    for (const { bytes, family } of GROUPS) {
      const cast = family === 4 && bytes[0] === 255 ? Cast.Broadcast : Cast.Multicast;
      this.#own[family].insert(bytes, 0, addressBits(family), cast);
    }
    // The first of two equal prefixes stays, and a configured route is before all that follow from addresses.
    for (const [at, { addresses }] of [...interfaces.entries()].reverse())
      for (const own of [...addresses].reverse()) this.#onLink(own, at);
    for (const route of routes) this.#insert(route.to, this.#hop(route.interface, route.via));
    for (const own of interfaces.flatMap(({ addresses }) => addresses)) this.#claim(own.address);
    for (const prefix of LOOPBACKS) {
      this.#insert(prefix, 0);
      this.#own[prefix.address.family].insert(prefix.address.bytes, 0, prefix.length, Cast.Unicast);
    }
    for (const { peer } of before) if (peer >= 0) this.#book.unpin(peer);
  }

  /** Lets go of what it keeps in the address book. */
  close(): void {
    for (const { peer } of this.#hops) if (peer >= 0) this.#book.unpin(peer);
    this.#hops = [HERE];
    this.#routes = tables();
    this.generation++;
  }

  #onLink(own: IpPrefix, at: number): void {
    const { address, length } = own;
    if (length === addressBits(address.family)) return;
    this.#insert(own, this.#hop(at, undefined));
    // RFC 3021: a link of two has no broadcast.
    if (address.family === 4 && length <= 30)
      this.#own[4].insert(broadcastOf(own).bytes, 0, 32, Cast.Broadcast);
  }

  #claim({ family, bytes }: IpAddress): void {
    const bits = addressBits(family);
    this.#own[family].insert(bytes, 0, bits, Cast.Unicast);
    this.#routes[family].insert(bytes, 0, bits, 0);
  }

  #insert({ address, length }: IpPrefix, hop: number): void {
    this.#routes[address.family].insert(address.bytes, 0, length, hop);
  }

  #hop(at: number, via: IpAddress | undefined): number {
    const known = this.#hops.findIndex(
      (hop) => hop.interface === at && String(hop.via ?? '') === String(via?.bytes ?? ''),
    );
    if (known >= 0) return known;
    const peer = via
      ? this.#book.pinAddress({ family: via.family, bytes: via.bytes, port: 0, scope: 0 })
      : -1;
    this.#hops.push({ interface: at, peer, via: via?.bytes });
    return this.#hops.length - 1;
  }

  /** How the address at `bytes[at]` is one that this host takes packets for: a Cast, or -1. */
  cast(bytes: Uint8Array, at: number, family: 4 | 6): number {
    const own = this.#own[family].lookup(bytes, at);
    if (own >= 0 || !this.#captive) return own;
    return bytes[at] >= (family === 4 ? 224 : 0xff) ? -1 : Cast.Unicast;
  }

  /** The same without those that it only stands for. */
  own(bytes: Uint8Array, at: number, family: 4 | 6): number {
    return this.#own[family].lookup(bytes, at);
  }

  /** Where packets for the address at `bytes[at]` leave; undefined: nowhere. */
  hop(bytes: Uint8Array, at: number, family: 4 | 6): Hop | undefined {
    const found = this.#routes[family].lookup(bytes, at);
    return found < 0 ? undefined : this.#hops[found];
  }

  /** Bytes of an IP packet that pass to the address at `bytes[at]`. */
  mtu(bytes: Uint8Array, at: number, family: 4 | 6, hop: Hop): number {
    if (hop.interface === LOOPBACK) return LOOPBACK_MTU;
    return this.#paths.lookup(bytes, at, family, this.interfaces[hop.interface].mtu);
  }

  /**
   * The way to an address; undefined when there is none, or no address to leave from.
   *
   * @param source an address of this host that it must leave from
   */
  route(destination: Uint8Array, source?: Uint8Array): PathRoute | undefined {
    const family = destination.length === 4 ? 4 : 6;
    if (source && (source.length !== destination.length || this.cast(source, 0, family) !== Cast.Unicast))
      return undefined;
    const hop = this.#wayTo(destination, family, source);
    if (!hop) return undefined;
    // RFC 1122, 3.2.1.3 g; RFC 4291, 2.5.3: loopback addresses stay inside.
    if (source && hop.interface !== LOOPBACK && isLoopback({ family, bytes: source })) return undefined;
    const from = source ?? this.#sourceFor(destination, family, hop);
    return from && this.#path(hop, from, destination);
  }

  /** A way that leaves an interface whatever the tables say, for hosts that have no address yet. */
  routeBy(at: number, destination: Uint8Array, source: Uint8Array): PathRoute {
    const known = this.hop(destination, 0, destination.length === 4 ? 4 : 6);
    const hop = known?.interface === at ? known : { interface: at, peer: -1, via: undefined };
    return this.#path(hop, source, destination);
  }

  /** An address of an interface to send from to `destination`, if it has one. */
  sourceOf(at: number, destination: Uint8Array): Uint8Array | undefined {
    const own = this.interfaces[at].addresses.filter(
      ({ address }) => address.bytes.length === destination.length,
    );
    return (own.find((each) => onLink(each, destination)) ?? own[0])?.address.bytes;
  }

  #path(hop: Hop, source: Uint8Array, destination: Uint8Array): PathRoute {
    const family = destination.length === 4 ? 4 : 6;
    const superframes = hop.interface === LOOPBACK || this.interfaces[hop.interface].superframes;
    return new PathRoute(
      this,
      hop,
      source.slice(),
      destination.slice(),
      this.mtu(destination, 0, family, hop),
      superframes,
    );
  }

  /**
   * What an error about a packet comes from: the address that the packet was for, if it is this host's, else one of the way
   * back (RFC 1812, 4.3.2.4; RFC 4443, 2.2).
   *
   * @param at where the packet's destination is @param to where its source is, @param hop the way there
   */
  sourceOfError(bytes: Uint8Array, at: number, to: number, family: 4 | 6, hop: Hop): Uint8Array | undefined {
    const size = family === 4 ? 4 : 16;
    if (this.cast(bytes, at, family) === Cast.Unicast) return bytes.slice(at, at + size);
    if (hop.interface === LOOPBACK) return undefined;
    return this.#sourceFor(bytes.slice(to, to + size), family, hop);
  }

  #wayTo(destination: Uint8Array, family: 4 | 6, source: Uint8Array | undefined): Hop | undefined {
    if (!isScoped(destination)) return this.hop(destination, 0, family);
    // Link-local addresses and groups are on every link: the source says which, or the first that can.
    const able = this.interfaces.findIndex(({ addresses }) =>
      addresses.some(({ address }) =>
        source ? String(address.bytes) === String(source) : address.family === family,
      ),
    );
    return this.hop(destination, 0, family) ?? (able < 0 ? undefined : { ...HERE, interface: able });
  }

  /** RFC 6724, 5 as far as a host with few addresses needs it: of the same scope, and of the prefix of the next hop. */
  #sourceFor(destination: Uint8Array, family: 4 | 6, hop: Hop): Uint8Array | undefined {
    // To oneself: from the same address.
    if (hop.interface === LOOPBACK) return destination;
    const next = hop.via ?? destination;
    const scoped = isLinkLocal(destination);
    const all = [this.interfaces[hop.interface], ...this.interfaces].flatMap(({ addresses }) => addresses);
    const usable = all.filter(({ address }) => address.family === family);
    const scope = usable.filter(({ address }) => isLinkLocal(address.bytes) === scoped);
    const candidates = scope.length > 0 ? scope : usable;
    return (candidates.find((own) => onLink(own, next)) ?? candidates[0])?.address.bytes;
  }
}

const tables = () => ({ 4: new PrefixTable(4), 6: new PrefixTable(6) });

const isLinkLocal = (bytes: Uint8Array): boolean =>
  bytes.length === 4 ? bytes[0] === 169 && bytes[1] === 254 : bytes[0] === 0xfe && bytes[1] >> 6 === 2;

/** Addresses that mean something else on every link. */
function isScoped(bytes: Uint8Array): boolean {
  if (isLinkLocal(bytes)) return true;
  return bytes.length === 4 ? bytes[0] >= 224 : bytes[0] === 0xff;
}
