/**
 * Both ends of the tunnel's control protocol, with clocks of their own, on a path that loses, doubles, holds back, flips bits, is cut; ends are
 * restarted and move. When all of that is over they must be one session again within the time that docs/udp-format.md says, and stay so.
 */
import { randomStream } from '../../../src/engine/random.ts';
import { connect, Host, MS, row, SECOND, SERVER, serve, World } from '../../tunnel/control-world.ts';
import type { Hunt } from './hunt.ts';

type End = 'client' | 'server';
export type TunnelFault = { at: number } & (
  | { kind: 'cut'; for: number }
  | { kind: 'loss' | 'duplicate' | 'corrupt' | 'garble'; for: number; share: number }
  | { kind: 'jitter'; for: number; most: number }
  | { kind: 'restart'; end: End }
  | { kind: 'move'; port: number }
  | { kind: 'drift'; end: End; for: number; ppm: number }
  | { kind: 'jump'; end: End; by: number }
);

const DURING = 15 * SECOND;
/** "With the default interval of 1 s a tunnel works again within 3 s", and a round trip. */
const DOCUMENTED = 3 * SECOND + 100 * MS;
/** Bits that flip and pass the checksum of UDP may say anything; a session that nobody can use is forgotten. */
const AFTER_GARBLE = 125 * SECOND;

/** An end by a clock that may be fast, or have jumped. */
class Skewed {
  ppm = 0;
  offset = 0;
  #since = 0;
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  now(): number {
    return Math.floor(this.offset + (this.world.now - this.#since) * (1 + this.ppm / 1e6));
  }

  drift(ppm: number): void {
    this.offset = this.now();
    this.#since = this.world.now;
    this.ppm = ppm;
  }

  jump(by: number): void {
    this.offset += by;
  }

  /** When it shows so much. */
  when(time: number): number {
    if (time === Infinity) return time;
    return Math.ceil(this.#since + (time - this.offset) / (1 + this.ppm / 1e6)) + 1;
  }

  /** Puts itself in front of what a host runs. */
  wrap(host: Host): void {
    const inner = host.control!;
    const { onData } = host;
    host.onData = onData;
    host.control = {
      receive: (_now, peer, bytes, offset, length) => inner.receive(this.now(), peer, bytes, offset, length),
      tick: () => inner.tick(this.now()),
      nextDeadline: () => this.when(inner.nextDeadline()),
    };
  }
}

class BadPath extends World {
  corrupt = 0;
  garble = 0;

  override transmit(from: Uint8Array, to: Uint8Array, bytes: Uint8Array, fragmentable: boolean): void {
    // A flipped bit that the checksum finds is a loss.
    if (this.random.unit() < this.corrupt) return;
    let sent = bytes;
    if (this.garble > 0 && this.random.unit() < this.garble) {
      sent = bytes.slice();
      for (let bits = 1 + (this.random.u32() % 3); bits > 0; bits--)
        sent[this.random.u32() % sent.length]! ^= 1 << (this.random.u32() % 8);
    }
    super.transmit(from, to, sent, fragmentable);
  }
}

class Tunnel {
  readonly world: BadPath;
  readonly clocks: Record<End, Skewed>;
  readonly serverHost: Host;
  readonly clientHost: Host;
  server!: ReturnType<typeof serve>;
  client!: ReturnType<typeof connect>;

  constructor(seed: number) {
    this.world = new BadPath(seed);
    this.clocks = { client: new Skewed(this.world), server: new Skewed(this.world) };
    this.serverHost = new Host(this.world, SERVER);
    this.clientHost = new Host(this.world, row('198.51.100.7', 40000));
    this.restart('server');
    this.restart('client');
  }

  restart(end: End): void {
    if (end === 'server') {
      this.server = serve(this.serverHost);
      this.clocks.server.wrap(this.serverHost);
    } else {
      this.client = connect(this.clientHost);
      this.clocks.client.wrap(this.clientHost);
    }
  }

  isWhole(): boolean {
    const session = this.server.sessionOfPeer(this.serverHost.rowOf(this.clientHost.self));
    return session >= 0 && this.client.state === 'up' && this.server.count === 1;
  }

  begin(fault: TunnelFault): void {
    const { channel } = this.world;
    switch (fault.kind) {
      case 'cut':
        channel.cut = true;
        return;
      case 'loss':
      case 'duplicate':
        channel[fault.kind] = fault.share;
        return;
      case 'corrupt':
      case 'garble':
        this.world[fault.kind] = fault.share;
        return;
      case 'jitter':
        channel.jitter = fault.most;
        return;
      case 'restart':
        this.restart(fault.end);
        return;
      case 'move':
        this.clientHost.self = row('203.0.113.9', fault.port);
        return;
      case 'drift':
        this.clocks[fault.end].drift(fault.ppm);
        return;
      case 'jump':
        this.clocks[fault.end].jump(fault.by);
        return;
    }
  }

  end(fault: TunnelFault): void {
    const { channel } = this.world;
    if (fault.kind === 'cut') channel.cut = false;
    else if (fault.kind === 'loss' || fault.kind === 'duplicate') channel[fault.kind] = 0;
    else if (fault.kind === 'corrupt' || fault.kind === 'garble') this.world[fault.kind] = 0;
    else if (fault.kind === 'jitter') channel.jitter = 0;
    else if (fault.kind === 'drift') this.clocks[fault.end].drift(0);
  }

  /** Events of both ends that somebody would see. */
  get events(): number {
    return [...this.serverHost.events, ...this.clientHost.events].filter(({ type }) => type !== 'pmtu')
      .length;
  }
}

/** Both ends, and what will happen to them. */
export function tunnelWith(seed: number, script: readonly TunnelFault[]): Tunnel {
  const tunnel = new Tunnel(seed);
  for (const fault of script) {
    tunnel.world.at(fault.at, () => tunnel.begin(fault));
    if ('for' in fault) tunnel.world.at(fault.at + fault.for, () => tunnel.end(fault));
  }
  return tunnel;
}

const KINDS = [
  'cut',
  'loss',
  'duplicate',
  'corrupt',
  'garble',
  'jitter',
  'restart',
  'move',
  'drift',
  'jump',
] as const;

export const tunnelHunt: Hunt<TunnelFault> = {
  draw(seed) {
    const random = randomStream(seed, 'tunnel faults');
    const within = (most: number) => Math.floor((random.unit() * most) / MS) * MS;
    // Undetected damage has another bar, so that not every script may have it.
    const kinds = seed % 4 === 0 ? KINDS : KINDS.filter((kind) => kind !== 'garble');
    return Array.from({ length: 1 + random.below(7) }, (): TunnelFault => {
      const at = within(DURING);
      const lasts = within(Math.min(8 * SECOND, DURING - at));
      const end: End = random.below(2) === 0 ? 'client' : 'server';
      const kind = kinds[random.below(kinds.length)]!;
      switch (kind) {
        case 'cut':
          return { at, kind, for: lasts };
        case 'loss':
        case 'duplicate':
        case 'corrupt':
        case 'garble':
          return { at, kind, for: lasts, share: (1 + random.below(90)) / 100 };
        case 'jitter':
          return { at, kind, for: lasts, most: (1 + random.below(2000)) * MS };
        case 'restart':
          return { at, kind, end };
        case 'move':
          return { at, kind, port: 1000 + random.below(4) };
        case 'drift':
          return { at, kind, end, for: lasts, ppm: random.below(40_001) - 20_000 };
        default:
          return { at, kind, end, by: within(random.below(4) === 0 ? 200 * SECOND : 5 * SECOND) };
      }
    });
  },

  async run(seed, script) {
    const tunnel = tunnelWith(seed, script);
    const { world } = tunnel;
    // What is held back longest still arrives, and may say that all is otherwise.
    const over = script.map((fault) => {
      const held = fault.kind === 'jitter' ? fault.most + 100 * MS : 0;
      return fault.at + ('for' in fault ? fault.for : 0) + held;
    });
    world.run(Math.max(0, ...over));
    const bar = script.some(({ kind }) => kind === 'garble') ? AFTER_GARBLE : DOCUMENTED;
    // What damage has done may come to light later: what is looked at is that it ends.
    if (bar === AFTER_GARBLE) world.run(world.now + bar);
    const took = world.until(() => tunnel.isWhole(), bar);
    if (took === Infinity) return `not one session ${bar / SECOND} s after the last fault`;
    world.run(world.now + 2 * SECOND);
    const before = tunnel.events;
    world.run(world.now + 10 * SECOND);
    if (!tunnel.isWhole()) return 'no session any more, though nothing has happened';
    if (tunnel.events !== before) return `${tunnel.events - before} events though nothing has happened`;
    const held = [tunnel.serverHost.pinned.size, tunnel.clientHost.pinned.size];
    if (held.join() !== '1,1') return `${held.join(' and ')} addresses are kept, expected one at each end`;
    if (tunnel.server.pending > 0) return 'a claim still waits';
    return undefined;
  },

  simpler(fault) {
    const found: TunnelFault[] = [];
    if ('for' in fault && fault.for > MS) found.push({ ...fault, for: Math.floor(fault.for / 2 / MS) * MS });
    if (fault.at % SECOND !== 0) found.push({ ...fault, at: fault.at - (fault.at % SECOND) });
    return found;
  },
};
