/**
 * A network in memory for control planes in virtual time: every socket of one VirtualRuntime reaches every other, over a way
 * that delays, loses, doubles, reorders and is cut as told. All of it is drawn from one random stream and run by one
 * heap of events, so that a seed is a history.
 */
import { TunconnectorError } from '../errors.ts';
import { formatIp, isUnspecified, parseIp } from '../packet/address.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../packet/prefix.ts';
import {
  type Channel,
  type ChannelHandlers,
  type ChannelLimits,
  type ConnectOptions,
  type DatagramHandlers,
  type DatagramOptions,
  type DatagramSocket,
  DEFAULT_CONNECT_TIMEOUT,
  DEFAULT_MAX_CHANNELS,
  DEFAULT_QUEUE_LIMIT,
  formatPlace,
  isPath,
  type Listener,
  type ListenHandlers,
  type ListenOptions,
  limitsOf,
  type Place,
  parsePlace,
} from './outside.ts';
import type { RandomStream } from './random.ts';
import { duration, MILLISECOND, SECOND } from './units.ts';
import { Binds, FIRST_FREE_PORT, portInUse } from './virtual-binds.ts';
import { type Medium, VirtualPair } from './virtual-channel.ts';
import { VirtualDatagrams } from './virtual-datagrams.ts';
import type { VirtualClock } from './virtual-storage.ts';

export interface VirtualFaults {
  /** From one end to the other; default 100 µs. */
  delay?: string | number;
  /** Up to so much more, drawn uniformly; does not reorder. Default 0. */
  jitter?: string | number;
  /** Probability 0 to 1 that a datagram is lost. */
  loss?: number;
  /** Probability 0 to 1 that a datagram arrives twice. */
  duplicate?: number;
  /** Probability 0 to 1 that a datagram is held back, for up to twice the delay and at least up to 1 ms. */
  reorder?: number;
  /** How long a channel stands a cut before it breaks at both ends; default 20 s. */
  patience?: string | number;
}

/** Addresses without ports, or everybody. */
export type Hosts = string | readonly string[] | '*';

/** A connection request that is not answered is repeated. */
const REPEAT = SECOND;

export class VirtualOutside implements Medium {
  readonly #clock: VirtualClock;
  readonly #random: RandomStream;
  readonly #sockets = new Binds<VirtualDatagrams>('UDP');
  readonly #listeners = new Binds<VirtualListener>('TCP');
  readonly #paths = new Map<string, VirtualListener>();
  readonly #pairs = new Set<VirtualPair>();
  readonly #cuts = new Set<{ from: Set<string> | undefined; to: Set<string> | undefined }>();
  #nextPort = FIRST_FREE_PORT;
  #delay = 0;
  #jitter = 0;
  #loss = 0;
  #duplicate = 0;
  #reorder = 0;
  patience = 0;

  constructor(clock: VirtualClock, faults: VirtualFaults = {}) {
    this.#clock = clock;
    this.#random = clock.random('outside');
    this.configure({ delay: '100us', patience: '20s', ...faults });
  }

  /** Changes what is given, from now on. @throws ERR_CONFIG */
  configure(faults: VirtualFaults): void {
    const { delay, jitter, patience, loss, duplicate, reorder } = faults;
    for (const [key, value] of Object.entries({ loss, duplicate, reorder })) {
      if (value !== undefined && !(value >= 0 && value <= 1)) {
        throw new TunconnectorError(
          'ERR_CONFIG',
          `${key}: found ${value}, expected a probability from 0 to 1`,
        );
      }
    }
    if (delay !== undefined) this.#delay = duration(delay);
    if (jitter !== undefined) this.#jitter = duration(jitter);
    if (patience !== undefined) this.patience = duration(patience);
    this.#loss = loss ?? this.#loss;
    this.#duplicate = duplicate ?? this.#duplicate;
    this.#reorder = reorder ?? this.#reorder;
  }

  /**
   * From now on nothing gets from these to those; a host always reaches itself. Datagrams are lost, channels wait for
   * `patience`. Returns a function that heals this cut, and no other.
   */
  cut(from: Hosts, to: Hosts): () => void {
    const cut = { from: hostSet(from), to: hostSet(to) };
    this.#cuts.add(cut);
    this.#review();
    return () => {
      this.#cuts.delete(cut);
      this.#review();
    };
  }

  /** A cut both ways. */
  partition(left: Hosts, right: Hosts): () => void {
    const there = this.cut(left, right);
    const back = this.cut(right, left);
    return () => {
      there();
      back();
    };
  }

  /** Resets the channels between two addresses (of host or Unix socket) that fit; all when left out. Returns how many. */
  breakChannels(fits: (client: string, server: string) => boolean = () => true): number {
    const found = [...this.#pairs].filter(({ client, server }) => fits(server.peer, client.peer));
    for (const pair of found) this.after(0, () => pair.break('ECONNRESET'));
    return found.length;
  }

  datagrams(bind: string, handlers: DatagramHandlers, options: DatagramOptions = {}): DatagramSocket {
    const endpoint = this.#sockets.choose(parseEndpoint(bind), () => this.#freePort());
    const socket = new VirtualDatagrams(
      this,
      endpoint,
      handlers,
      options.queueLimit ?? DEFAULT_QUEUE_LIMIT,
      () => this.#sockets.remove(endpoint),
    );
    this.#sockets.add(endpoint, socket);
    return socket;
  }

  listen(bind: string, handlers: ListenHandlers, options: ListenOptions = {}): Listener {
    const place = parsePlace(bind);
    const listener = new VirtualListener(handlers, options, () => this.#forget(listener));
    this.after(0, () => {
      if (listener.closed) return;
      try {
        listener.place = this.#bindListener(place, listener);
      } catch (error) {
        handlers.onError?.(error as TunconnectorError);
        return;
      }
      handlers.onListening?.(listener.address);
    });
    return listener;
  }

  connect(to: string, handlers: ChannelHandlers, options: ConnectOptions = {}): Channel {
    const place = parsePlace(to);
    const bind = options.bind === undefined ? undefined : parseEndpoint(options.bind);
    const local = isPath(place) ? place : this.#localEnd(place, bind);
    const pair = new VirtualPair(
      this,
      { host: hostOf(local), peer: formatPlace(place) },
      { host: hostOf(place), peer: formatPlace(local) },
      () => this.#pairs.delete(pair),
    );
    this.#pairs.add(pair);
    const { client } = pair;
    client.handlers = handlers;
    client.limits = limitsOf(options);
    const cancel = this.after(options.timeout ?? DEFAULT_CONNECT_TIMEOUT, () => {
      if (client.state === 'opening') pair.break('ETIMEDOUT');
    });
    client.onEnded = cancel;
    const { host } = client;
    const serverHost = hostOf(place);
    const answer = () => {
      if (this.isCut(serverHost, host)) {
        this.after(REPEAT, answer);
        return;
      }
      cancel();
      const isAwaited = client.state === 'opening';
      client.open();
      if (isAwaited) client.handlers?.onOpen?.();
    };
    const arrive = () => {
      // It may have given up meanwhile.
      if (client.isGone) return;
      if (this.isCut(host, serverHost)) {
        this.after(REPEAT, arrive);
        return;
      }
      const listener = isPath(place) ? this.#paths.get(place.path) : this.#listeners.find(place);
      if (listener) {
        this.after(this.delay(), answer);
        listener.accept(pair);
      } else this.after(this.delay(), () => pair.break('ECONNREFUSED'));
    };
    this.after(this.delay(), arrive);
    return client;
  }

  // ── For the parts of this outside

  now(): number {
    return this.#clock.now();
  }

  after(wait: number, callback: () => void): () => void {
    return this.#clock.timer(this.#clock.now() + wait, callback);
  }

  delay(): number {
    return this.#delay + Math.floor(this.#random.unit() * (this.#jitter + 1));
  }

  isCut(from: string | undefined, to: string | undefined): boolean {
    if (from === undefined || to === undefined || from === to) return false;
    for (const cut of this.#cuts) {
      if ((cut.from?.has(from) ?? true) && (cut.to?.has(to) ?? true)) return true;
    }
    return false;
  }

  /** Sends one datagram on its way. `onLeft` is called when it is no longer in the network, in either way. */
  carry(socket: VirtualDatagrams, from: Endpoint, to: Endpoint, bytes: Uint8Array, onLeft: () => void): void {
    // Always as many draws, so that one fault more does not change when the others happen.
    const lost = this.#random.unit() < this.#loss;
    const twice = this.#random.unit() < this.#duplicate;
    const held = this.#random.unit() < this.#reorder;
    const holdBack = Math.ceil(this.#random.unit() * Math.max(2 * this.#delay, MILLISECOND));
    const wait = this.delay();
    if (lost || this.isCut(hostOf(from), hostOf(to))) {
      this.after(0, onLeft);
      return;
    }
    const due = socket.schedule(this.now() + wait);
    const at = held ? due + holdBack : due;
    this.#clock.timer(at, () => {
      onLeft();
      this.#arrive(from, to, bytes);
    });
    if (twice) this.#clock.timer(at, () => this.#arrive(from, to, bytes.slice()));
  }

  #arrive(from: Endpoint, to: Endpoint, bytes: Uint8Array): void {
    // What was on its way when the cut came is lost as well.
    if (this.isCut(hostOf(from), hostOf(to))) return;
    this.#sockets.find(to)?.receive(formatEndpoint(from), bytes);
  }

  #bindListener(place: Place, listener: VirtualListener): Place {
    if (!isPath(place)) {
      const endpoint = this.#listeners.choose(place, () => this.#freePort());
      this.#listeners.add(endpoint, listener);
      return endpoint;
    }
    if (this.#paths.has(place.path)) throw portInUse(place.path);
    this.#paths.set(place.path, listener);
    return place;
  }

  #forget({ place }: VirtualListener): void {
    if (!place) return;
    if (isPath(place)) this.#paths.delete(place.path);
    else this.#listeners.remove(place);
  }

  /** As over the loopback: who is not bound sends from the address that it sends to. */
  #localEnd(to: Endpoint, bind: Endpoint | undefined): Endpoint {
    const address = bind && !isUnspecified(bind.address) ? bind.address : to.address;
    return { address, port: bind && bind.port > 0 ? bind.port : this.#freePort() };
  }

  #freePort(): number {
    const port = this.#nextPort;
    this.#nextPort = port === 65535 ? FIRST_FREE_PORT : port + 1;
    return port;
  }

  #review(): void {
    for (const pair of this.#pairs) pair.review();
  }
}

class VirtualListener implements Listener {
  place: Place | undefined;
  closed = false;
  readonly #limits: ChannelLimits;
  readonly #maxChannels: number;
  readonly #handlers: ListenHandlers;
  readonly #onClose: () => void;
  #open = 0;

  constructor(handlers: ListenHandlers, options: ListenOptions, onClose: () => void) {
    this.#handlers = handlers;
    this.#limits = limitsOf(options);
    this.#maxChannels = options.maxChannels ?? DEFAULT_MAX_CHANNELS;
    this.#onClose = onClose;
  }

  get address(): string {
    return this.place ? formatPlace(this.place) : '';
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#onClose();
  }

  accept({ server }: VirtualPair): void {
    server.limits = this.#limits;
    server.open();
    if (this.#open >= this.#maxChannels) {
      server.close();
      return;
    }
    this.#open++;
    server.onEnded = () => {
      this.#open--;
    };
    const handlers = this.#handlers.onChannel(server);
    if (!handlers) server.close();
    else if (server.state === 'open') server.handlers = handlers;
  }
}

const hostOf = (place: Place): string | undefined => (isPath(place) ? undefined : formatIp(place.address));

function hostSet(hosts: Hosts): Set<string> | undefined {
  if (hosts === '*') return undefined;
  return new Set([hosts].flat().map((host) => formatIp(parseIp(host))));
}
