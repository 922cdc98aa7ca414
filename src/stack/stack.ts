/**
 * TCP/IP in userspace, as an app: each of its interfaces is an input and an output of that name, on layer 3. What arrives
 * is answered, handed to sockets, or, on a router, sent on.
 *
 * @example
 * const net = new Network(runtime).app('tun0', tun({ name: 'tun0' })).app('host', stack({ interfaces: [{ name: 'eth0', addresses: ['10.0.0.2/24'] }] }))
 *   .link('tun0.out -> host.eth0').link('host.eth0 -> tun0.in');
 */
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../engine/app.ts';
import type { Link } from '../engine/link.ts';
import type { Runtime } from '../engine/runtime.ts';
import { TunconnectorError } from '../errors.ts';
import { type AddressLike, isIp, toIp } from '../packet/address.ts';
import { type ResolveOptions, Resolver } from './dns/resolver.ts';
import { type EchoCaptor, EchoFlows } from './echo/flows.ts';
import { IpHost } from './ip/host.ts';
import { LARGE_FRAGMENTS } from './ip/reassembly.ts';
import { LOOPBACK, type PathRoute } from './ip/routing.ts';
import {
  checkOwnAddress,
  checkRoute,
  checkStack,
  type InterfaceSettings,
  type StackOptions,
  type StackSettings,
} from './options.ts';
import type { PingOptions, PingResult } from './ping.ts';
import type { IpBelow, TransportAbove } from './tcp/below.ts';
import type { Connection, TcpHandlers } from './tcp/connection.ts';
import type { TcpListener } from './tcp/listener.ts';
import type { Offer } from './tcp/offer.ts';
import type { TcpReport } from './tcp/report.ts';
import type { TcpOptions } from './tcp/settings.ts';
import { type ConnectOptions, type ListenOptions, Tcp } from './tcp/tcp.ts';
import type { FlowCaptor } from './udp/flows.ts';
import type { UdpOptions, UdpSocket } from './udp/socket.ts';
import { Udp } from './udp/udp.ts';

/** Who takes what is for other hosts. */
export interface Captors {
  tcp?: {
    onOffer(offer: Offer): void;
    /** Offers at a time; SYNs beyond that are dropped, and come again. */
    backlog: number;
    /** Of the connections. */
    options?: TcpOptions;
  };
  udp?: FlowCaptor;
  echo?: EchoCaptor;
}

/** Packets of this host to itself that one run handles; the rest waits for the next. */
const LOOPBACK_AT_ONCE = 4096;

export class Stack implements App {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly layers: Readonly<Record<string, Layer>>;
  readonly paths: Readonly<Record<string, readonly string[]>>;
  readonly superframes = true;
  readonly limits: { packets: number; superframes: number };
  readonly due = new Float64Array(1).fill(Number.POSITIVE_INFINITY);
  #settings: StackSettings;
  #context: AppContext | undefined;
  #host: IpHost | undefined;
  #udp: Udp | undefined;
  #resolver: Resolver | undefined;
  #tcp: Tcp | undefined;
  #echoes: EchoFlows | undefined;
  #ports: Ports | undefined;
  /** Whom `resolve` asks. */
  nameservers: readonly string[];
  /** Transports in the order in which they run. */
  readonly #above: TransportAbove[] = [];

  constructor(options: StackOptions) {
    const settings = checkStack(options);
    const names = settings.interfaces.map(({ name }) => name);
    this.#settings = settings;
    this.nameservers = settings.nameservers;
    this.inputs = names;
    this.outputs = names;
    this.layers = Object.fromEntries(names.map((name) => [name, 'L3']));
    // A host takes everything in; a router stops a link when the next one has no room.
    this.paths = Object.fromEntries(
      names.map((name) => [name, settings.forward ? names.filter((other) => other !== name) : []]),
    );
    this.limits = {
      packets: settings.fragments,
      superframes: Math.min(settings.fragments, LARGE_FRAGMENTS),
    };
  }

  // ── What programs use.

  /**
   * Opens a UDP socket.
   *
   * @throws ERR_CLOSED before the network runs and after it, ERR_PORT_IN_USE, ERR_ADDRESS, ERR_LIMIT
   */
  udp(options: UdpOptions = {}): UdpSocket {
    this.#running();
    return this.#udp!.open(options);
  }

  /**
   * Opens a TCP connection; its handlers are told what comes of it.
   *
   * @throws ERR_CLOSED, ERR_CONFIG, ERR_ADDRESS, ERR_UNREACHABLE when no route leads there, ERR_PORT_IN_USE, ERR_LIMIT
   */
  connect(options: ConnectOptions, handlers: TcpHandlers = {}): Connection {
    this.#running();
    return this.#tcp!.connect(options, handlers);
  }

  /**
   * Takes TCP connections: `onConnection` is called with each and returns its handlers.
   *
   * @throws ERR_CLOSED, ERR_CONFIG, ERR_ADDRESS, ERR_PORT_IN_USE
   */
  listen(
    options: ListenOptions,
    onConnection: (connection: Connection) => TcpHandlers | undefined,
  ): TcpListener {
    this.#running();
    return this.#tcp!.listen(options, onConnection);
  }

  /**
   * Takes what comes for all other hosts, with the option `captive`: connections as offers, which are answered when somebody
   * knows what the other host says, and datagrams and pings as flows. What listens on this stack goes before.
   *
   * @throws ERR_CLOSED, ERR_CONFIG without `captive`, and for options that do not fit
   */
  capture({ tcp, udp, echo }: Captors): void {
    const host = this.#running();
    if (!this.#settings.captive)
      throw new TunconnectorError('ERR_CONFIG', 'the stack takes only what is for itself', {
        remedy: 'make it with captive: true',
      });
    if (tcp) this.#tcp!.capture(tcp.onOffer, tcp.backlog, tcp.options);
    if (udp) this.#udp!.capture(udp, host.clock);
    if (echo) {
      const { pool, clock, routing, sender, errors, numbers } = host;
      const [room, wake] = [(route: PathRoute) => host.room(route), () => host.wake()];
      this.#echoes = new EchoFlows({ pool, clock, routing, sender, errors, numbers, room, wake }, echo);
      host.icmp.captured = this.#echoes;
    }
  }

  /** What TCP did so far. */
  get tcp(): TcpReport {
    this.#running();
    return this.#tcp!.report();
  }

  /**
   * Sends one echo request and says what came of it.
   *
   * @throws ERR_ADDRESS, ERR_UNREACHABLE when no route leads there, ERR_LIMIT
   */
  ping(address: AddressLike, options: PingOptions = {}): Promise<PingResult> {
    return new Promise((resolve) => {
      const host = this.#running();
      host.pings.send(toIp(address).bytes, options, resolve);
      host.wake();
    });
  }

  /**
   * The addresses of a name, as text: first those that a route leads to, of these IPv6 first. Addresses are what they are, and
   * `localhost` is this host (RFC 6761).
   *
   * @throws ERR_RESOLVE when there is no such name, nobody answered (`errno` says which), or it has no addresses
   */
  async resolve(name: string, options: ResolveOptions = {}): Promise<string[]> {
    this.#running();
    if (isIp(name)) return [name];
    const families = options.family === undefined ? ([6, 4] as const) : [options.family];
    if (/^localhost\.?$/i.test(name)) return families.map((family) => (family === 4 ? '127.0.0.1' : '::1'));
    const asked = { servers: this.nameservers, ...options };
    const results = await Promise.allSettled(
      families.map((family) => this.#resolver!.ask(name, family === 4 ? 'A' : 'AAAA', asked)),
    );
    const found = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    if (found.length === 0) {
      const failed = results.find((result) => result.status === 'rejected');
      throw (
        failed?.reason ??
        new TunconnectorError('ERR_RESOLVE', `"${name}" has no addresses`, { errno: 'ENODATA' })
      );
    }
    const reached = (text: string) => this.reaches(text);
    return [...found.filter(reached), ...found.filter((text) => !reached(text))];
  }

  /** Plugs a transport protocol in: `make` gets what it has of the IP half. */
  attach<T extends TransportAbove>(make: (below: IpBelow) => T): T {
    const host = this.#running();
    const transport = make(host);
    host.transports[transport.protocol] = transport;
    this.#above.push(transport);
    return transport;
  }

  /** Whether a route leads to an address. */
  reaches(address: AddressLike): boolean {
    return this.#running().route(toIp(address).bytes) !== undefined;
  }

  /** The interfaces as they are now. */
  get interfaces(): readonly InterfaceSettings[] {
    return this.#settings.interfaces;
  }

  /**
   * Gives an interface other addresses, and with them the routes to their links.
   *
   * @param addresses `10.0.0.2/24`
   * @throws ERR_CONFIG, ERR_ADDRESS
   */
  setAddresses(name: string, addresses: readonly string[]): void {
    const own = addresses.map(checkOwnAddress);
    if (!this.interfaces.some((each) => each.name === name))
      throw new TunconnectorError('ERR_CONFIG', `found the interface "${name}", which there is not`);
    const interfaces = this.interfaces.map((each) =>
      each.name === name ? { ...each, addresses: own } : each,
    );
    this.#apply({ ...this.#settings, interfaces });
  }

  /** Replaces the routes; those to the links of addresses are there without. @throws ERR_CONFIG, ERR_ADDRESS */
  setRoutes(routes: NonNullable<StackOptions['routes']>): void {
    const checked = routes.map((route, i) => checkRoute(route, this.interfaces, `routes.${i}`));
    this.#apply({ ...this.#settings, routes: checked });
  }

  /** The default route of IPv4 through an interface; undefined: there is none. @throws ERR_CONFIG, ERR_ADDRESS */
  setGateway(name: string, gateway: string | undefined): void {
    const kept = this.#settings.routes.filter(({ to }) => to.address.family === 6 || to.length > 0);
    const route = { to: '0.0.0.0/0', via: gateway, interface: name };
    const routes = gateway === undefined ? kept : [...kept, checkRoute(route, this.interfaces, 'gateway')];
    this.#apply({ ...this.#settings, routes });
  }

  /** The runtime that it runs on. @throws ERR_CLOSED before the network runs */
  get runtime(): Runtime {
    this.#running();
    return this.#context!.runtime;
  }

  #apply(settings: StackSettings): void {
    this.#settings = settings;
    this.#host?.configure(settings.interfaces, settings.routes);
    this.#context?.wake();
  }

  #running(): IpHost {
    if (!this.#host)
      throw new TunconnectorError('ERR_CLOSED', 'the stack does not run: its network is not started');
    return this.#host;
  }

  /** Power is lost: whoever has connections is told nothing any more, neither that they end. */
  mute(): void {
    this.#tcp?.mute();
  }

  // ── What its network uses.

  open(context: AppContext): void {
    this.#context = context;
    const host = new IpHost(context, this.#settings, (at) => this.#link(at));
    this.#host = host;
    this.#startResolver(context, host);
    const { pool, routing, sender, errors, numbers } = host;
    this.#udp = this.attach(
      () =>
        new Udp(
          pool,
          routing,
          sender,
          errors,
          numbers,
          () => context.wake(),
          (route) => host.room(route),
        ),
    );
    this.#tcp = this.attach((below) => new Tcp(below));
  }

  #startResolver(context: AppContext, host: IpHost): void {
    const open = (options: UdpOptions) => this.udp(options);
    const connect = (options: ConnectOptions, handlers: TcpHandlers) => this.connect(options, handlers);
    this.#resolver = new Resolver({ runtime: context.runtime, numbers: host.numbers, open, connect });
  }

  #link(at: number): Link | undefined {
    return this.#ports?.output[this.outputs[at]];
  }

  /** It brings packets in, in `push`: what makes it a source is that it pays for them. */
  pull(): boolean {
    return false;
  }

  push(ports: Ports): void {
    const host = this.#host!;
    this.#ports = ports;
    const { sender, receiver, arrivals, clock } = this.#host!;
    for (let at = 0; at < sender.outlets.length; at++) sender.outlets[at].starved = false;
    this.#flush(ports);
    for (let at = 0; at < this.inputs.length; at++) {
      const link = ports.input[this.inputs[at]];
      for (let left = link.waiting; left > 0; ) {
        const before = link.count;
        const n = arrivals.take(link, left);
        left -= before - link.count;
        for (let i = 0; i < n; i++) receiver.receive(arrivals.packets[i], at);
      }
    }
    receiver.reassembly.expire(clock[0]);
    if (host.paths.due[0] <= clock[0]) {
      host.paths.expire(clock[0]);
      host.routing.generation++;
    }
    this.#run();
    this.#loop();
    this.#flush(ports);
    this.#schedule();
  }

  #run(): void {
    for (let i = 0; i < this.#above.length; i++) this.#above[i].run();
    this.#echoes?.run(this.#host!.clock[0]);
  }

  /** This host's packets to itself, and what comes of them. */
  #loop(): void {
    const { loopback } = this.#host!.sender;
    const { receiver } = this.#host!;
    for (let left = LOOPBACK_AT_ONCE; loopback.count > 0 && left > 0; ) {
      const n = Math.min(left, loopback.count);
      for (let i = 0; i < n; i++) receiver.receive(loopback.at(i), LOOPBACK);
      loopback.forget(n);
      left -= n;
      this.#run();
    }
  }

  #flush(ports: Ports): void {
    const { outlets } = this.#host!.sender;
    for (let at = 0; at < outlets.length; at++) outlets[at].flush(ports.output[this.outputs[at]]);
  }

  #schedule(): void {
    const { receiver, paths, sender } = this.#host!;
    let next = Math.min(receiver.reassembly.due[0], paths.due[0]);
    for (let i = 0; i < this.#above.length; i++) next = Math.min(next, this.#above[i].due[0]);
    if (this.#echoes) next = Math.min(next, this.#echoes.first());
    this.due[0] = sender.loopback.count > 0 ? 0 : next;
  }

  held(): number {
    if (!this.#host) return 0;
    const { sender, receiver } = this.#host;
    let held = receiver.reassembly.held + sender.loopback.count;
    for (let at = 0; at < sender.outlets.length; at++) {
      held += sender.outlets[at].count;
      // Who waits for room is woken like one who holds packets.
      if (sender.outlets[at].starved) held++;
    }
    return held;
  }

  canReconfigure(options: unknown): boolean {
    const next = checkStack(options as StackOptions);
    const same = (key: 'forward' | 'captive' | 'ttl' | 'echo' | 'fragments') =>
      next[key] === this.#settings[key];
    return (
      same('forward') &&
      same('captive') &&
      same('ttl') &&
      same('echo') &&
      same('fragments') &&
      next.interfaces.map(({ name }) => name).join() === this.inputs.join()
    );
  }

  reconfigure(options: unknown): void {
    const settings = checkStack(options as StackOptions);
    this.nameservers = settings.nameservers;
    this.#apply(settings);
  }

  report(): AppReport {
    if (!this.#host) return {};
    const { receiver, sender, errors, icmp, forwarder, paths } = this.#host;
    return {
      received: receiver.received,
      sent: sender.sent,
      forwarded: forwarder?.forwarded ?? 0,
      reassembled: receiver.reassembly.completed,
      fragmented: sender.fragmented,
      fragmentsHeld: receiver.reassembly.held,
      echoes: icmp.echoes,
      errorsSent: errors.sent,
      errorsSuppressed: errors.suppressed,
      errorsReceived: icmp.errors,
      errorsBelieved: icmp.believed,
      narrowPaths: paths.size,
    };
  }

  finish(ports: Ports): void {
    for (const transport of this.#above) transport.close();
    this.#flush(ports);
  }

  close(): void {
    this.#resolver?.close();
    for (const transport of this.#above) transport.close();
    this.#echoes?.close();
    this.#host?.close();
    this.#host = undefined;
    this.#udp = undefined;
    this.#resolver = undefined;
    this.#tcp = undefined;
    this.#echoes = undefined;
    this.#ports = undefined;
    this.#above.length = 0;
  }
}

export const stack = defineApp<StackOptions, StackOptions>({
  module: import.meta.url,
  export: 'stack',
  check(options) {
    checkStack(options);
    return options;
  },
  create: (options) => new Stack(options),
});
