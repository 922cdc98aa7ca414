/**
 * The app `deliver`: what comes in at `inside`, for whatever host, is taken to it by ordinary sockets of this machine, and
 * the answers leave at `inside`. A stack ends the TCP, UDP and pings of the clients. It needs neither root nor routes.
 */
import {
  type App,
  type AppContext,
  type AppReport,
  defineApp,
  type Layer,
  type Ports,
} from '../engine/app.ts';
import { Stack } from '../stack/stack.ts';
import { Counts } from './counts.ts';
import { EchoDelivery } from './echo.ts';
import { liveOutward } from './live-outward.ts';
import { checkDeliver, type DeliverOptions, type DeliverSettings } from './options.ts';
import type { Outward } from './outward.ts';
import { Reach } from './reach.ts';
import { TcpDelivery } from './tcp.ts';
import { UdpDelivery } from './udp.ts';

/** Clients that are gone without a word are found out about after this, and nine questions: ns. */
const KEEP_ALIVE = 300e9;
/** How often the addresses of this machine are looked up: ns. */
const OWN_EVERY = 5e9;

export class Delivery implements App {
  readonly inputs = ['inside'];
  readonly outputs = ['inside'];
  readonly required = ['inside'];
  readonly layers: Readonly<Record<string, Layer>> = { inside: 'L3' };
  readonly paths = { inside: [] };
  readonly superframes = true;
  readonly limits: { packets: number; superframes: number };
  readonly due: Float64Array;
  readonly #settings: DeliverSettings;
  readonly #outward: Outward;
  readonly #stack: Stack;
  readonly #counts = new Counts();
  readonly #reach: Reach;
  #tcp: TcpDelivery | undefined;
  #clock: Float64Array = new Float64Array(1);
  #looked = Number.NEGATIVE_INFINITY;

  /** @param outward the sockets; those of this machine */
  constructor(settings: DeliverSettings, outward: Outward = liveOutward) {
    const { addresses, mtu } = settings;
    this.#settings = settings;
    this.#outward = outward;
    this.#reach = new Reach(settings);
    this.#stack = new Stack({
      interfaces: [{ name: 'inside', addresses, mtu }],
      routes: ['0.0.0.0/0', '::/0'].map((to) => ({ to, interface: 'inside' })),
      captive: true,
    });
    this.limits = this.#stack.limits;
    this.due = this.#stack.due;
  }

  open(context: AppContext): void {
    this.#stack.open(context);
    this.#clock = context.runtime.clock;
    const { connections, flows, perSource, buffer, udp, udpQuestion } = this.#settings;
    const [outward, counts] = [this.#outward, this.#counts];
    const tcp = new TcpDelivery(this.#reach, outward, counts, { connections, perSource });
    this.#tcp = tcp;
    const options = { sendBuffer: buffer, receiveBuffer: buffer, keepAlive: KEEP_ALIVE };
    this.#stack.capture({
      tcp: { onOffer: tcp.onOffer, backlog: connections, options },
      udp: new UdpDelivery(this.#reach, outward, counts, { flows, perSource, udp, udpQuestion }),
      echo: new EchoDelivery(this.#reach, outward, counts, { flows, perSource }),
    });
    this.#lookAround();
  }

  #lookAround(): void {
    if (this.#settings.trusted || this.#clock[0] - this.#looked < OWN_EVERY) return;
    this.#looked = this.#clock[0];
    this.#reach.close(this.#outward.ownAddresses());
  }

  pull(): boolean {
    return false;
  }

  push(ports: Ports): void {
    if (ports.input.inside.waiting > 0) this.#lookAround();
    this.#stack.push(ports);
  }

  held(): number {
    return this.#stack.held();
  }

  canReconfigure(): boolean {
    return false;
  }

  report(): AppReport {
    const { connections, bytesUp, bytesDown, ...counts } = this.#counts;
    const [up, down] = this.#tcp?.underWay ?? [0, 0];
    const { received = 0, sent = 0, echoes = 0, errorsSent = 0 } = this.#stack.report();
    return {
      connections,
      ...counts,
      bytesUp: bytesUp + up,
      bytesDown: bytesDown + down,
      ...{ received, sent, echoes, errorsSent },
    };
  }

  finish(ports: Ports): void {
    this.#tcp?.close();
    this.#stack.finish(ports);
  }

  close(): void {
    this.#tcp?.close();
    this.#stack.close();
  }
}

export const deliver = defineApp<DeliverOptions, DeliverSettings>({
  module: import.meta.url,
  export: 'deliver',
  check: checkDeliver,
  create: (options) => new Delivery(options),
});
