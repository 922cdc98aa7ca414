/** A small world in virtual time for the control protocol: ends with addresses, and a channel that can be bad. */
import { parseIp } from '../../src/packet/address.ts';
import { type IpPrefix, parsePrefix } from '../../src/packet/prefix.ts';
import { PrefixTable } from '../../src/packet/prefix-table.ts';
import { type ClientConfig, ClientControl } from '../../src/tunnel/control/client.ts';
import { type ServerConfig, ServerControl } from '../../src/tunnel/control/server.ts';
import type { ControlOut, RandomStream, TunnelEvent } from '../../src/tunnel/control/session.ts';

export const MS = 1e6;
export const SECOND = 1e9;

/** mulberry32 */
export function seeded(seed: number): RandomStream & { unit(): number } {
  let state = seed >>> 0;
  const u32 = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  return {
    u32,
    unit: () => u32() / 2 ** 32,
    fill: (bytes) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = u32();
    },
  };
}

/** A row of the address table. */
export function row(address: string, port: number): Uint8Array {
  const { family, bytes } = parseIp(address);
  const out = new Uint8Array(32);
  out[0] = family;
  out[2] = port >> 8;
  out[3] = port;
  out.set(bytes, 4);
  return out;
}

const key = (bytes: Uint8Array): string => bytes.subarray(0, 24).join('.');

export const inner = (text: string): IpPrefix => parsePrefix(text, { hostBits: true });

export interface Channel {
  delay: number;
  jitter: number;
  loss: number;
  duplicate: number;
  /** Larger datagrams are lost unless they may be fragmented. */
  mtu: number;
  cut: boolean;
}

/** What both ends have in common. */
interface Control {
  receive(now: number, peer: number, bytes: Uint8Array, offset: number, length: number): number;
  tick(now: number): void;
  nextDeadline(): number;
}

const PINNED = 400;
const PASSING = 64;

/** An address table, as a UDP port has it. */
export class Host implements ControlOut {
  readonly world: World;
  self: Uint8Array;
  control: Control | undefined;
  readonly events: TunnelEvent[] = [];
  /** Every datagram sent: bytes, to whom. */
  sent: { bytes: Uint8Array; to: Uint8Array; fragmentable: boolean }[] = [];
  record = false;
  sentBytes = 0;
  sentCount = 0;
  onData: (peer: number, length: number) => void = () => {};
  readonly rows = Array.from({ length: PINNED + PASSING }, () => new Uint8Array(32));
  readonly pinned = new Map<string, number>();
  readonly #free = Array.from({ length: PINNED }, (_, i) => PINNED - 1 - i);
  #passing = 0;

  constructor(world: World, self: Uint8Array) {
    this.world = world;
    this.self = self;
    world.hosts.push(this);
  }

  /** The pinned row of an address, or -1. */
  rowOf(address: Uint8Array): number {
    return this.pinned.get(key(address)) ?? -1;
  }

  /** A row that lasts only for a while, as a received datagram has it. */
  pass(address: Uint8Array): number {
    const known = this.pinned.get(key(address));
    if (known !== undefined) return known;
    const at = PINNED + (this.#passing++ % PASSING);
    this.rows[at].set(address);
    return at;
  }

  pin(peer: number): number {
    const address = this.rows[peer].slice();
    const known = this.pinned.get(key(address));
    if (known !== undefined) throw new Error(`pinned twice: ${peer}`);
    const at = this.#free.pop();
    if (at === undefined) return -1;
    this.rows[at].set(address);
    this.pinned.set(key(address), at);
    return at;
  }

  unpin(peer: number): void {
    if (!this.pinned.delete(key(this.rows[peer]))) throw new Error(`not pinned: ${peer}`);
    this.rows[peer].fill(0);
    this.#free.push(peer);
  }

  address(peer: number): Uint8Array {
    if (this.rows[peer][0] === 0) throw new Error(`nobody at row ${peer}`);
    return this.rows[peer];
  }

  event(event: TunnelEvent): void {
    this.events.push(event);
  }

  send(peer: number, bytes: Uint8Array, length: number, fragmentable: boolean): void {
    const to = this.address(peer).slice();
    const copy = bytes.slice(0, length);
    this.sentBytes += length;
    this.sentCount++;
    if (this.record) this.sent.push({ bytes: copy, to, fragmentable });
    this.world.transmit(this.self, to, copy, fragmentable);
  }

  receive(from: Uint8Array, bytes: Uint8Array): void {
    const peer = this.pass(from);
    if (bytes[0] >> 4 === 0) this.control?.receive(this.world.now, peer, bytes, 0, bytes.length);
    else this.onData(peer, bytes.length);
  }

  count(type: string): number {
    return this.events.filter((event) => event.type === type).length;
  }
}

export class World {
  now = 0;
  readonly random: ReturnType<typeof seeded>;
  readonly hosts: Host[] = [];
  readonly channel: Channel = { delay: 10 * MS, jitter: 0, loss: 0, duplicate: 0, mtu: 1472, cut: false };
  readonly #queue: { time: number; order: number; run: () => void }[] = [];
  #order = 0;

  constructor(seed: number) {
    this.random = seeded(seed);
  }

  at(time: number, run: () => void): void {
    const item = { time, order: this.#order++, run };
    let i = this.#queue.length;
    while (i > 0 && this.#queue[i - 1].time > time) i--;
    this.#queue.splice(i, 0, item);
  }

  transmit(from: Uint8Array, to: Uint8Array, bytes: Uint8Array, fragmentable: boolean): void {
    const { cut, loss, duplicate, delay, jitter, mtu } = this.channel;
    if (cut || (bytes.length > mtu && !fragmentable)) return;
    const copies = 1 + (this.random.unit() < duplicate ? 1 : 0);
    for (let i = 0; i < copies; i++) {
      if (this.random.unit() < loss) continue;
      this.at(Math.round(this.now + delay + this.random.unit() * jitter), () => {
        if (this.channel.cut) return;
        for (const host of this.hosts) if (key(host.self) === key(to)) host.receive(from, bytes);
      });
    }
  }

  /** Runs until `time`. */
  run(time: number): void {
    let [instant, steps] = [-1, 0];
    for (;;) {
      let next = this.#queue[0]?.time ?? Infinity;
      for (const { control } of this.hosts) if (control) next = Math.min(next, control.nextDeadline());
      next = Math.max(next, this.now);
      if (next > time) break;
      steps = next === instant ? steps + 1 : 0;
      instant = next;
      if (steps > 10_000) throw new Error(`never settles at ${next}`);
      this.now = next;
      while (this.#queue.length > 0 && this.#queue[0].time <= this.now) this.#queue.shift()?.run();
      for (const { control } of this.hosts) control?.tick(this.now);
    }
    this.now = time;
  }

  /** Runs until `condition`, at most for `limit`; returns how long it took, Infinity when it never came true. */
  until(condition: () => boolean, limit: number): number {
    const start = this.now;
    while (this.now < start + limit) {
      if (condition()) return this.now - start;
      this.run(this.now + 5 * MS);
    }
    return condition() ? this.now - start : Infinity;
  }
}

export const BAD_CHANNEL: Partial<Channel> = { delay: 20 * MS, jitter: 60 * MS, loss: 0.05, duplicate: 0.1 };

export const SERVER = row('192.0.2.1', 55555);

export function serverConfig(over: Partial<ServerConfig> = {}): ServerConfig {
  return {
    layer: 3,
    addresses: [inner('10.0.0.1/24'), inner('fd00::1/64')],
    routes: [inner('10.9.0.0/16')],
    allow: [],
    mtu: 1472,
    prefixTable: (family) => new PrefixTable(family),
    ...over,
  };
}

export function clientConfig(over: Partial<ClientConfig> = {}): ClientConfig {
  return { layer: 3, addresses: [inner('10.0.0.2/24')], networks: [], mtu: 1472, ...over };
}

/** Starts (or restarts) a server on `host`. */
export function serve(host: Host, config = serverConfig()): ServerControl {
  for (const at of [...host.pinned.values()]) host.unpin(at); // what a former process had
  const secret = new Uint8Array(32);
  host.world.random.fill(secret);
  const server = new ServerControl(config, host, host.world.random, secret);
  host.control = server;
  host.onData = (peer, length) => {
    const session = server.sessionOfPeer(peer);
    if (session < 0) server.unknownSender(host.world.now, peer, length);
    else server.heard(host.world.now, session);
  };
  return server;
}

/** Starts (or restarts) a client on `host`. */
export function connect(host: Host, config = clientConfig(), to = SERVER): ClientControl {
  for (const at of [...host.pinned.values()]) host.unpin(at);
  const client = new ClientControl(config, host, host.world.random);
  host.control = client;
  host.onData = (peer) => {
    if (client.isServer(peer)) client.heard(host.world.now);
  };
  client.start(host.world.now, host.pass(to));
  return client;
}

/** One server, one client, one channel. */
export function pair(seed = 1, server = serverConfig(), client = clientConfig()) {
  const world = new World(seed);
  const serverHost = new Host(world, SERVER);
  const clientHost = new Host(world, row('198.51.100.7', 40000));
  return {
    world,
    serverHost,
    clientHost,
    server: serve(serverHost, server),
    client: connect(clientHost, client),
  };
}
