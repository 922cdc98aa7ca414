import { describe, expect, it } from 'vitest';
import { writeRefused } from '../../src/tunnel/control/messages.ts';
import { ControlDrop } from '../../src/tunnel/control/session.ts';
import { ControlType, ControlWriter } from '../../src/tunnel/control/wire.ts';
import {
  BAD_CHANNEL,
  clientConfig,
  connect,
  Host,
  inner,
  MS,
  pair,
  row,
  SECOND,
  SERVER,
  seeded,
  serve,
} from './control-world.ts';

const RUNS = 150;

/** A pair whose ends can be replaced. */
class Tunnel {
  readonly parts: ReturnType<typeof pair>;

  constructor(seed: number, channel: object) {
    this.parts = pair(seed);
    Object.assign(this.parts.world.channel, channel);
    if (this.heals() === Infinity) throw new Error('never came up');
  }

  wait(time: number): void {
    const { world } = this.parts;
    world.run(world.now + Math.floor(time));
  }

  restartServer(): void {
    this.parts.server = serve(this.parts.serverHost);
  }

  restartClient(port: number): void {
    this.parts.clientHost.self = row('198.51.100.7', port);
    this.parts.client = connect(this.parts.clientHost);
  }

  moveClient(port: number): void {
    this.parts.clientHost.self = row('203.0.113.9', port);
  }

  cut(cut: boolean): void {
    this.parts.world.channel.cut = cut;
  }

  /** Both ends have the one session, at the address where the client is now. */
  whole(): boolean {
    const { server, client, serverHost, clientHost } = this.parts;
    const session = server.sessionOfPeer(serverHost.rowOf(clientHost.self));
    return session >= 0 && client.state === 'up' && server.count === 1;
  }

  heals(): number {
    return this.parts.world.until(() => this.whole(), 60 * SECOND);
  }

  /** Nothing happens any more: both ends agree. */
  isQuiet(time: number): boolean {
    const { serverHost, clientHost } = this.parts;
    this.wait(1.5 * SECOND); // until the server hears the next KEEPALIVE
    const count = (): number =>
      [...serverHost.events, ...clientHost.events].filter((event) => event.type !== 'pmtu').length;
    const before = count();
    this.wait(time);
    return this.whole() && count() === before;
  }
}

const HARMS: [string, (tunnel: Tunnel, random: ReturnType<typeof seeded>) => void][] = [
  [
    'the path was cut for any time',
    (tunnel, random) => {
      tunnel.cut(true);
      tunnel.wait(random.unit() * 12 * SECOND);
      tunnel.cut(false);
    },
  ],
  [
    'the server was killed and restarted',
    (tunnel, random) => {
      tunnel.parts.serverHost.control = undefined;
      tunnel.wait(random.unit() * 6 * SECOND);
      tunnel.restartServer();
    },
  ],
  [
    'the server said goodbye and came back',
    (tunnel, random) => {
      tunnel.parts.server.close(tunnel.parts.world.now);
      tunnel.wait(random.unit() * 6 * SECOND);
      tunnel.restartServer();
    },
  ],
  [
    'the server was restarted behind a cut path',
    (tunnel, random) => {
      tunnel.cut(true);
      tunnel.wait(random.unit() * 6 * SECOND);
      tunnel.restartServer();
      tunnel.wait(random.unit() * 6 * SECOND);
      tunnel.cut(false);
    },
  ],
  [
    'the client was killed and restarted on the same port',
    (tunnel, random) => {
      tunnel.parts.clientHost.control = undefined;
      tunnel.wait(random.unit() * 6 * SECOND);
      tunnel.restartClient(40000);
    },
  ],
  [
    'the client was killed and restarted on another port',
    (tunnel, random) => {
      tunnel.parts.clientHost.control = undefined;
      tunnel.wait(random.unit() * 6 * SECOND);
      tunnel.restartClient(40001);
    },
  ],
  ['the client changed its address', (tunnel) => tunnel.moveClient(41000)],
  [
    'the client changed its address while the path was cut',
    (tunnel, random) => {
      tunnel.cut(true);
      tunnel.wait(random.unit() * 12 * SECOND);
      tunnel.moveClient(41000);
      tunnel.cut(false);
    },
  ],
];

/** Harms tunnels at random instants and returns how long each took to heal, sorted. */
function healingTimes(
  channel: object,
  harm: (typeof HARMS)[number][1],
  then: (tunnel: Tunnel) => void = () => {},
): number[] {
  const times: number[] = [];
  for (let seed = 1; seed <= RUNS; seed++) {
    const random = seeded(seed * 7919);
    const tunnel = new Tunnel(seed, channel);
    tunnel.wait(random.unit() * 5 * SECOND);
    harm(tunnel, random);
    times.push(tunnel.heals());
    then(tunnel);
  }
  return times.sort((a, b) => a - b);
}

describe('an idle tunnel heals within 3 s after', () => {
  it.each(HARMS)('%s', (_name, harm) => {
    const times = healingTimes({}, harm, (tunnel) => expect(tunnel.isQuiet(5 * SECOND)).toBe(true));
    expect(times.at(-1)).toBeLessThan(3 * SECOND);
  });

  it.each(HARMS)('%s, also where 5 % are lost, 10 % doubled and all reordered', (_name, harm) => {
    const times = healingTimes(BAD_CHANNEL, harm);
    expect(times.at(-1)).toBeLessThan(3 * SECOND);
  });
});

describe('a channel that loses every fourth datagram', () => {
  it('only slows healing down', () => {
    const worst = HARMS.map(([, harm]) => healingTimes({ ...BAD_CHANNEL, loss: 0.25 }, harm));
    for (const times of worst) {
      expect(times[Math.floor(RUNS * 0.9)]).toBeLessThan(3.5 * SECOND);
      expect(times.at(-1)).toBeLessThan(15 * SECOND);
    }
  });

  it('does not end sessions', () => {
    const { world, server, serverHost, client } = pair(5);
    Object.assign(world.channel, { ...BAD_CHANNEL, loss: 0.25 });
    world.run(600 * SECOND);
    expect([server.count, serverHost.count('up'), serverHost.count('gone')]).toEqual([1, 1, 0]);
    expect(['up', 'silent']).toContain(client.state);
  });
});

describe('a client', () => {
  it('turns silent three intervals after the last word, and comes back with the first', () => {
    const { world, client, clientHost, serverHost } = pair();
    world.run(1.5 * SECOND);
    world.channel.cut = true;
    world.run(6 * SECOND);
    expect(client.state).toBe('silent');
    expect(client.established).toBe(true);
    const silent = clientHost.events.find((event) => event.type === 'silent');
    expect(silent?.time).toBeGreaterThan(3.9 * SECOND);
    expect(silent?.time).toBeLessThan(4.6 * SECOND);
    world.channel.cut = false;
    world.transmit(serverHost.self, clientHost.self, new Uint8Array(40).fill(0x45), true);
    world.run(6.02 * SECOND);
    expect(client.state).toBe('up');
    expect(clientHost.count('back')).toBe(1);
  });

  it('asks for the name of the server again while it is silent', () => {
    const { world, client, clientHost } = pair();
    world.run(SECOND);
    world.channel.cut = true;
    world.run(20 * SECOND);
    expect(clientHost.count('resolve')).toBeGreaterThanOrEqual(3);
    expect(clientHost.count('resolve')).toBeLessThanOrEqual(5);
    world.channel.cut = false;
    world.run(30 * SECOND);
    const asked = clientHost.count('resolve');
    world.run(60 * SECOND);
    expect([client.state, clientHost.count('resolve')]).toEqual(['up', asked]);
  });

  it('follows the server to another address', () => {
    const { world, server, client, serverHost, clientHost } = pair();
    world.run(2 * SECOND);
    serverHost.self = row('192.0.2.99', 1234);
    world.run(8 * SECOND);
    expect(client.state).toBe('silent');
    client.setServer(world.now, clientHost.pass(serverHost.self));
    world.run(8.1 * SECOND);
    expect([client.state, server.count]).toEqual(['up', 1]);
    expect(clientHost.pinned.size).toBe(1);
  });

  it('ends its session with a goodbye', () => {
    const { world, server, client, serverHost, clientHost } = pair();
    world.run(2 * SECOND);
    client.close(world.now);
    world.run(3 * SECOND);
    expect([server.count, serverHost.pinned.size, clientHost.pinned.size]).toEqual([0, 0, 0]);
    expect(serverHost.events.at(-1)).toMatchObject({ type: 'gone', reason: 'goodbye' });
    expect(client.nextDeadline()).toBe(Infinity);
  });
});

describe('what the network delivers late', () => {
  /** A tunnel whose server was restarted; `welcome` is from before, `refused` never belonged to a session. */
  function restarted() {
    const parts = pair();
    parts.serverHost.record = parts.clientHost.record = true;
    parts.world.run(1.5 * SECOND);
    const welcome = parts.serverHost.sent.find(({ bytes }) => bytes[5] === ControlType.Welcome);
    const server = serve(parts.serverHost);
    parts.world.run(4 * SECOND);
    return { ...parts, server, welcome: welcome?.bytes ?? new Uint8Array() };
  }

  it('cannot bring a session back that is over', () => {
    const { world, client, serverHost, clientHost, welcome } = restarted();
    clientHost.sent = [];
    const result = client.receive(world.now, clientHost.pass(SERVER), welcome, 0, welcome.length);
    world.run(8 * SECOND);
    expect(result).toBe(ControlDrop.Stale);
    expect(clientHost.sent.filter(({ bytes }) => bytes[5] === ControlType.Hello)).toEqual([]);
    expect([serverHost.count('up'), clientHost.count('back')]).toEqual([2, 1]);
  });

  it('cannot end a session with the refusal of an earlier HELLO', () => {
    const { world, client, clientHost, welcome } = restarted();
    const [nonceHigh, nonceLow] = [19, 23].map((at) => new DataView(welcome.buffer).getUint32(at));
    const { bytes, length } = writeRefused(new ControlWriter(), { nonceHigh, nonceLow }, 'taken', '');
    expect(client.receive(world.now, clientHost.pass(SERVER), bytes, 0, length)).toBe(ControlDrop.Stale);
    expect([client.state, clientHost.count('refused')]).toEqual(['up', 0]);
  });
});

describe('a server', () => {
  it('drops a waiting claim when another session moves to its address', () => {
    const { world, server, serverHost, clientHost } = pair();
    const silent = new Host(world, row('198.51.100.8', 40000));
    connect(silent, clientConfig({ addresses: [inner('10.0.0.3/24')] }));
    world.run(1500 * MS);
    silent.control = undefined;
    const claimant = new Host(world, row('198.51.100.9', 40000));
    connect(claimant, clientConfig({ addresses: [inner('10.0.0.3/24')] }));
    world.run(1600 * MS);
    expect([server.count, server.pending]).toEqual([2, 1]);
    claimant.control = undefined;
    const place = claimant.self;
    claimant.self = row('198.51.100.10', 40000);
    clientHost.self = place;
    world.transmit(place, SERVER, new Uint8Array(40).fill(0x45), true);
    world.run(5 * SECOND);
    expect([server.count, server.pending, serverHost.count('moved'), serverHost.count('gone')]).toEqual([
      2, 0, 1, 0,
    ]);
    expect(server.owner4(Uint8Array.of(10, 0, 0, 2), 0)).toBe(server.sessionOfPeer(serverHost.rowOf(place)));
  });

  it('calls a client silent after 3.5 intervals and forgets it after 120 s', () => {
    const { world, server, serverHost } = pair();
    world.run(SECOND);
    world.channel.cut = true;
    world.run(200 * SECOND);
    const [up, silent, gone] = ['up', 'silent', 'gone'].map(
      (type) => serverHost.events.find((event) => event.type === type)?.time ?? Number.NaN,
    );
    expect(silent - up).toBeGreaterThan(3.4 * SECOND);
    expect(silent - up).toBeLessThan(4.7 * SECOND);
    expect(gone - silent).toBeCloseTo(116.5 * SECOND, -6);
    expect([server.count, serverHost.pinned.size, server.nextDeadline()]).toEqual([0, 0, Infinity]);
  });

  it('does not move a session back for a HELLO that the network held back', () => {
    const { world, server, serverHost, clientHost } = pair();
    world.run(1500 * MS);
    const former = clientHost.self;
    clientHost.record = true;
    clientHost.self = row('203.0.113.9', 41000);
    world.run(3 * SECOND);
    // The network doubles a HELLO with token and cookie and delivers it late, once more from where it came from.
    const moving = clientHost.sent.filter(({ bytes }) => bytes[5] === ControlType.Hello).at(-1);
    clientHost.self = former;
    world.run(6 * SECOND);
    const at = server.peerOf[0];
    serverHost.receive(row('203.0.113.9', 41000), moving?.bytes ?? new Uint8Array());
    expect(server.peerOf[0]).toBe(at);
    expect(serverHost.rowOf(former)).toBe(at);
    expect(serverHost.count('moved')).toBe(2);
  });

  it('moves a session only to an address that has proven itself, and keeps it', () => {
    const { world, server, client, serverHost, clientHost } = pair();
    world.run(1500 * MS);
    const session = server.sessionOfPeer(serverHost.rowOf(clientHost.self));
    clientHost.self = row('203.0.113.9', 41000);
    world.run(3 * SECOND);
    expect(server.sessionOfPeer(serverHost.rowOf(clientHost.self))).toBe(session);
    expect(serverHost.events.map((event) => event.type)).toEqual(['up', 'pmtu', 'moved', 'pmtu']);
    expect([client.state, clientHost.count('silent'), clientHost.count('back')]).toEqual(['up', 0, 0]);
    expect(serverHost.pinned.size).toBe(1);
  });
});
