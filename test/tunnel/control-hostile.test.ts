import { describe, expect, it } from 'vitest';
import { ControlDrop } from '../../src/tunnel/control/session.ts';
import {
  ControlType,
  controlMessage,
  HELLO_SIZE,
  ParseResult,
  parseControl,
} from '../../src/tunnel/control/wire.ts';
import {
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
  serverConfig,
  World,
} from './control-world.ts';

const STRANGER = row('203.0.113.66', 666);
const MUTATIONS = 1_000_000;

/** One good message of every kind and size that a client or server sends in a busy life. */
function corpus(): Uint8Array[] {
  const { world, clientHost, serverHost, client, server } = pair(9, serverConfig(), clientConfig());
  clientHost.record = serverHost.record = true;
  world.channel.mtu = 1300;
  world.run(4 * SECOND);
  const rival = new Host(world, row('198.51.100.8', 40000));
  rival.record = true;
  connect(rival);
  world.run(6 * SECOND);
  serverHost.onData(serverHost.pass(STRANGER), 100);
  client.close(world.now);
  world.run(7 * SECOND);
  server.close(world.now);
  const all = [...clientHost.sent, ...serverHost.sent, ...rival.sent].map(({ bytes }) => bytes);
  const kinds = new Map(all.map((bytes) => [`${bytes[5]} ${bytes.length}`, bytes]));
  return [...kinds.values()];
}

const GOOD = corpus();

/** The token of a client's session, as everybody on the path can read it. */
function tokenOf(clientHost: Host): Uint8Array {
  clientHost.record = true;
  clientHost.world.run(clientHost.world.now + 1.5 * SECOND);
  clientHost.record = false;
  const keepalive = clientHost.sent.find(({ bytes }) => bytes[5] === ControlType.Keepalive);
  if (!keepalive) throw new Error('no keepalive');
  return keepalive.bytes.slice(8, 16);
}

/** Changes a few bytes, or the length, or splices in a part of another message. */
function mutate(out: Uint8Array, random: ReturnType<typeof seeded>): number {
  const source = GOOD[random.u32() % GOOD.length];
  out.set(source);
  let length = source.length;
  const choice = random.u32() % 8;
  if (choice === 0) length = random.u32() % (length + 1);
  else if (choice === 1) length = Math.min(out.length, length + (random.u32() % 64));
  else if (choice === 2) {
    const other = GOOD[random.u32() % GOOD.length];
    const at = random.u32() % length;
    out.set(other.subarray(0, Math.min(other.length, out.length - at)), at);
  }
  for (let n = random.u32() % 4; n > 0; n--) out[random.u32() % Math.max(1, length)] = random.u32();
  // Most mutants must get past the first look.
  if (random.u32() % 8 > 0) out.set([0, 0x54, 0x55, 0x4e, 1], 0);
  return length;
}

it('the corpus has a message of every type', () => {
  const types = new Set(GOOD.map((bytes) => bytes[5]));
  expect([...types].sort((a, b) => a - b)).toEqual(Object.values(ControlType).sort((a, b) => a - b));
});

describe('one million mutated messages from strangers', () => {
  it('make a server send at most one answer each, never larger, throw nothing and leave nothing', () => {
    const { world, server, client, serverHost, clientHost } = pair(11, serverConfig({ unprovenRate: 1e9 }));
    const token = tokenOf(clientHost);
    world.transmit = () => {};
    const peer0 = server.peerOf[0];
    const events = serverHost.events.length;
    const random = seeded(1);
    const buffer = new Uint8Array(2048);
    const answers = new Map<number, number>();
    for (let i = 0; i < MUTATIONS; i++) {
      const length = mutate(buffer, random);
      if (i % 16 === 0) buffer.set(token, 8);
      const peer = serverHost.pass(STRANGER);
      const [count, bytes] = [serverHost.sentCount, serverHost.sentBytes];
      const result = server.receive(world.now, peer, buffer, 0, length);
      const sent = serverHost.sentCount - count;
      if (sent > 1 || serverHost.sentBytes - bytes > length)
        expect.fail(`amplified ${buffer.subarray(0, length)}`);
      answers.set(result, (answers.get(result) ?? 0) + sent);
    }
    expect(serverHost.events.length).toBe(events);
    expect([server.count, server.pending, serverHost.pinned.size, server.peerOf[0]]).toEqual([
      1,
      0,
      1,
      peer0,
    ]);
    expect(client.state).toBe('up');
    // The mutants were not all turned away at the door.
    expect(answers.get(0)).toBeGreaterThan(1000);
    expect(answers.get(ControlDrop.WrongAddress)).toBeGreaterThan(1000);
    expect(answers.get(ControlDrop.UnknownToken)).toBeGreaterThan(1000);
    expect(answers.get(ControlDrop.Version)).toBeGreaterThan(10);
  }, 60_000);

  it('do nothing to a client', () => {
    const { world, client, clientHost } = pair(12);
    world.run(2 * SECOND);
    const [events, sent] = [clientHost.events.length, clientHost.sentCount];
    const random = seeded(2);
    const buffer = new Uint8Array(2048);
    for (let i = 0; i < MUTATIONS / 4; i++) {
      const length = mutate(buffer, random);
      client.receive(world.now, clientHost.pass(STRANGER), buffer, 0, length);
    }
    expect([client.state, clientHost.events.length, clientHost.sentCount]).toEqual(['up', events, sent]);
    expect(clientHost.pinned.size).toBe(1);
  });

  it('even from the address of the other end leave a tunnel that works within 3 s', () => {
    const { world, server, client, serverHost, clientHost } = pair(13);
    const token = tokenOf(clientHost);
    const random = seeded(3);
    const buffer = new Uint8Array(2048);
    for (let round = 0; round < 100; round++) {
      world.run(world.now + 0.5 * SECOND);
      for (let i = 0; i < 1000; i++) {
        const length = mutate(buffer, random);
        if (i % 2) buffer.set(token, 8);
        if (i % 4 < 2) server.receive(world.now, serverHost.pass(clientHost.self), buffer, 0, length);
        else client.receive(world.now, clientHost.pass(SERVER), buffer, 0, length);
      }
    }
    world.run(world.now + 3 * SECOND);
    expect([client.state, server.count]).toEqual(['up', 1]);
    expect(server.sessionOfPeer(serverHost.rowOf(clientHost.self))).toBeGreaterThanOrEqual(0);
  });
});

describe('a stranger', () => {
  it('gets a cookie and leaves nothing behind', () => {
    const { world, server, serverHost } = pair();
    world.run(SECOND);
    const before = serverHost.pinned.size;
    const stranger = new Host(world, STRANGER);
    stranger.record = true;
    connect(stranger, clientConfig({ addresses: [inner('10.0.0.9/24')] }));
    stranger.control = undefined; // says HELLO once and never hears the answer
    serverHost.record = true;
    world.run(1.5 * SECOND);
    const cookies = serverHost.sent.filter(({ bytes }) => bytes[5] === ControlType.Cookie);
    expect(cookies).toHaveLength(1);
    expect([server.count, server.pending, serverHost.pinned.size]).toEqual([1, 0, before]);
  });

  it('who does not pad its HELLO gets no answer', () => {
    const { world, server, serverHost } = pair();
    world.run(SECOND);
    const hello = GOOD.find((bytes) => bytes[5] === ControlType.Hello) ?? new Uint8Array();
    const padding = hello.lastIndexOf(11, -1); // the last field
    const sent = serverHost.sentCount;
    expect(parseControl(hello, 0, padding, controlMessage())).toBe(ParseResult.Ok);
    expect(server.receive(world.now, serverHost.pass(STRANGER), hello, 0, padding)).toBe(
      ControlDrop.Unpadded,
    );
    expect(serverHost.sentCount).toBe(sent);
  });

  it('cannot use a cookie of another address, another run or an older minute', () => {
    const { world, serverHost } = pair();
    const stranger = new Host(world, STRANGER);
    stranger.record = true;
    const client = connect(stranger, clientConfig({ addresses: [inner('10.0.0.9/24')] }));
    world.run(60 * MS);
    expect(client.state).toBe('up');
    stranger.control = undefined;
    const hello = stranger.sent.filter(({ bytes }) => bytes[5] === ControlType.Hello)[1].bytes;
    /** What the server answers. */
    const answer = (from: Uint8Array): number => {
      serverHost.record = true;
      serverHost.sent = [];
      serverHost.receive(from, hello);
      return serverHost.sent[0].bytes[5];
    };
    expect(answer(STRANGER)).toBe(ControlType.Welcome);
    expect(answer(row('203.0.113.66', 667))).toBe(ControlType.Cookie);
    world.run(119 * SECOND);
    expect(answer(STRANGER)).toBe(ControlType.Welcome);
    world.run(121 * SECOND);
    expect(answer(STRANGER)).toBe(ControlType.Cookie);
    serve(serverHost);
    expect(answer(STRANGER)).toBe(ControlType.Cookie);
  });

  it('is told to say hello for data, at a bounded rate that leaves room for cookies', () => {
    const { world, server, serverHost } = pair(1, serverConfig({ unprovenRate: 100 }));
    world.run(2 * SECOND);
    world.transmit = () => {};
    serverHost.record = true;
    for (let i = 0; i < 10_000; i++)
      server.unknownSender(world.now, serverHost.pass(row('203.0.113.66', i)), 100);
    expect(serverHost.sent).toHaveLength(50);
    expect(serverHost.sent.every(({ bytes }) => bytes.length === 16 && bytes[5] === ControlType.Who)).toBe(
      true,
    );
    const hello =
      GOOD.find((bytes) => bytes[5] === ControlType.Hello && bytes.length === HELLO_SIZE) ?? GOOD[0];
    for (let i = 0; i < 200; i++)
      server.receive(world.now, serverHost.pass(STRANGER), hello, 0, hello.length);
    expect(serverHost.sent).toHaveLength(100);
    expect(server.receive(world.now, serverHost.pass(STRANGER), hello, 0, hello.length)).toBe(
      ControlDrop.RateLimited,
    );
  });

  it('cannot end, move or silence a session with its token alone', () => {
    const { world, server, client, serverHost, clientHost } = pair();
    const token = tokenOf(clientHost);
    const at = server.peerOf[0];
    const events = serverHost.events.length;
    for (const bytes of GOOD) {
      const forged = bytes.slice();
      forged.set(token, 8);
      serverHost.receive(STRANGER, forged);
      clientHost.receive(STRANGER, forged);
    }
    expect([server.count, server.peerOf[0], serverHost.events.length]).toEqual([1, at, events]);
    world.run(world.now + 10 * SECOND);
    expect([client.state, server.peerOf[0], serverHost.events.length]).toEqual(['up', at, events]);
  });

  it('cannot make a client say more than ten HELLOs a second with forged WHOs', () => {
    const { world, clientHost } = pair();
    world.run(2 * SECOND);
    clientHost.record = true;
    const who = Uint8Array.of(0, 0x54, 0x55, 0x4e, 1, ControlType.Who, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    for (let i = 0; i < 1000; i++) {
      world.run(world.now + MS);
      clientHost.receive(SERVER, who);
    }
    const hellos = clientHost.sent.filter(({ bytes }) => bytes[5] === ControlType.Hello);
    expect(hellos.length).toBeLessThanOrEqual(10);
    expect(clientHost.events.map((event) => event.type)).toEqual(['up', 'pmtu']);
  });

  it('who is many cannot make a server remember more than its limits', () => {
    const config = serverConfig({ maxClients: 8, maxPending: 4, addresses: [inner('10.0.0.1/16')] });
    const world = new World(1);
    const serverHost = new Host(world, SERVER);
    const server = serve(serverHost, config);
    for (let i = 0; i < 100; i++) {
      const host = new Host(world, row('203.0.113.1', 1000 + i));
      connect(host, clientConfig({ addresses: [inner(`10.0.${i % 12}.2/16`)] }));
    }
    for (let i = 0; i < 40; i++) {
      world.run(world.now + 50 * MS);
      expect(server.count).toBeLessThanOrEqual(8);
      expect(server.pending).toBeLessThanOrEqual(4);
      expect(serverHost.pinned.size).toBeLessThanOrEqual(12);
    }
    expect(server.count).toBe(8);
  });
});
