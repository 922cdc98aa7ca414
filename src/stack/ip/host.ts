/** The IP half of one stack: its parts, made for one pool and runtime, and what transports have of them. */
import type { AppContext } from '../../engine/app.ts';
import type { Link } from '../../engine/link.ts';
import type { Pool } from '../../engine/pool.ts';
import type { RandomStream } from '../../engine/random.ts';
import { SecretNumbers } from '../numbers.ts';
import type { InterfaceSettings, RouteSettings, StackSettings } from '../options.ts';
import { Pings } from '../ping.ts';
import type { IpBelow, Refusal, Route } from '../tcp/below.ts';
import { Arrivals } from './arrivals.ts';
import { Errors, REFUSALS } from './errors.ts';
import { Forwarder } from './forward.ts';
import { Icmp } from './icmp.ts';
import { PathMtus } from './path-mtu.ts';
import { type GroupTransport, Receiver } from './receiver.ts';
import { LOOPBACK, type PathRoute, Routing } from './routing.ts';
import { Sender } from './sender.ts';

export class IpHost implements IpBelow {
  readonly pool: Pool;
  readonly clock: Float64Array;
  readonly numbers: SecretNumbers;
  readonly paths: PathMtus;
  readonly routing: Routing;
  readonly sender: Sender;
  readonly errors: Errors;
  readonly pings: Pings;
  readonly icmp: Icmp;
  readonly forwarder: Forwarder | undefined;
  readonly receiver: Receiver;
  readonly arrivals: Arrivals;
  /** By protocol number. */
  readonly transports: (GroupTransport | undefined)[] = new Array(256);
  readonly #context: AppContext;
  /** By interface: the link it leaves on. */
  readonly #links: (at: number) => Link | undefined;

  constructor(context: AppContext, settings: StackSettings, links: (at: number) => Link | undefined) {
    const { pool, runtime, account } = context;
    const { ttl, echo, fragments, forward, captive, interfaces } = settings;
    this.#context = context;
    this.#links = links;
    this.pool = pool;
    this.clock = runtime.clock;
    this.numbers = new SecretNumbers((length) => runtime.secret(length));
    const { numbers, clock, transports } = this;
    this.paths = new PathMtus(numbers.i32());
    this.routing = new Routing(this.paths, pool.addresses, captive);
    this.sender = new Sender(pool, account, interfaces.length, ttl, numbers);
    const { paths, routing, sender } = this;
    this.errors = new Errors(pool, routing, sender, clock, numbers.i32());
    this.pings = new Pings(pool, runtime, routing, sender, ttl, numbers);
    const { errors, pings: echoes } = this;
    const secret = numbers.i32();
    this.icmp = new Icmp({ pool, clock, routing, paths, sender, transports, echoes, secret, echo, ttl });
    this.forwarder = forward ? new Forwarder(pool, routing, sender, errors) : undefined;
    const { icmp, forwarder } = this;
    const parts = { pool, clock, routing, errors, icmp, forwarder, transports, account, fragments };
    this.receiver = new Receiver(parts);
    this.arrivals = new Arrivals(pool, runtime.live);
    this.configure(interfaces, settings.routes);
  }

  configure(interfaces: readonly InterfaceSettings[], routes: readonly RouteSettings[]): void {
    this.routing.configure(interfaces, routes);
  }

  // ── What transports have: see `IpBelow`.

  route(destination: Uint8Array, source?: Uint8Array): PathRoute | undefined {
    return this.routing.route(destination, source);
  }

  room(route: Route): number {
    const at = (route as PathRoute).hop.interface;
    if (at === LOOPBACK) return this.sender.loopback.room;
    const outlet = this.sender.outlets[at];
    const link = this.#links(at);
    // Before the first breath nobody knows the link; one that closes a loop, or leads nowhere, holds nobody up.
    const room =
      link === undefined || link.feedback ? outlet.room : Math.min(outlet.room, link.room - outlet.count);
    if (room > 0) return room;
    outlet.starved = true;
    return 0;
  }

  make(_route: Route, length: number): number {
    return this.sender.make(length);
  }

  send(packet: number, route: Route, protocol: number, ecn: number, segmentSize: number): void {
    this.sender.send(packet, route as PathRoute, protocol, ecn, segmentSize);
  }

  refuse(
    kind: Refusal,
    source: Uint8Array,
    destination: Uint8Array,
    protocol: number,
    start: Uint8Array,
  ): void {
    this.errors.tellOf(source, destination, protocol, start, REFUSALS[kind]);
  }

  wake(): void {
    this.#context.wake();
  }

  random(name: string): RandomStream {
    return this.#context.runtime.random(`${this.#context.name}/${name}`);
  }

  secret(length: number): Uint8Array {
    return this.#context.runtime.secret(length);
  }

  close(): void {
    this.pings.close();
    this.arrivals.close();
    this.receiver.clear();
    this.sender.clear();
    this.routing.close();
  }
}
