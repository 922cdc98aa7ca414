import { describe, expect, it } from 'vitest';
import type { ClientConfig } from '../../src/tunnel/control/client.ts';
import type { ServerConfig } from '../../src/tunnel/control/server.ts';
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
  serve,
  serverConfig,
  World,
} from './control-world.ts';

describe('a client and a server', () => {
  it('are up after one exchange of cookies', () => {
    const { world, server, client, serverHost, clientHost } = pair();
    world.run(45 * MS);
    expect(client.state).toBe('up');
    expect(server.count).toBe(1);
    expect(serverHost.events.map((event) => event.type)).toEqual(['up']);
    expect(clientHost.events.map((event) => event.type)).toEqual(['up']);
    expect(client.serverAddresses).toEqual([inner('10.0.0.1/24'), inner('fd00::1/64')]);
    expect(server.owner4(Uint8Array.of(0, 10, 0, 0, 2), 1)).toBe(0);
    expect(server.owner4(Uint8Array.of(10, 0, 0, 3), 0)).toBe(-1);
    expect(server.sessionOfPeer(server.peerOf[0])).toBe(0);
    expect(client.rtt).toBe(20 * MS);
  });

  it('find each other although the first HELLOs are lost, with 0, 250, 500, 1000 and 1000 ms between', () => {
    const world = new World(1);
    const host = new Host(world, row('198.51.100.7', 40000));
    const times: number[] = [];
    world.transmit = () => times.push(world.now);
    connect(host);
    world.run(4.5 * SECOND);
    const gaps = times.slice(1).map((time, i) => Math.round((time - times[i]) / MS));
    for (const [i, gap] of [250, 500, 1000, 1000].entries()) {
      expect(gaps[i]).toBeGreaterThanOrEqual(gap * 0.9);
      expect(gaps[i]).toBeLessThanOrEqual(gap * 1.1);
    }
  });

  it('keep one session and one token however often HELLO is repeated', () => {
    const { world, server, serverHost, clientHost } = pair();
    world.channel.duplicate = 1;
    world.channel.jitter = 300 * MS;
    world.run(30 * SECOND);
    expect([server.count, serverHost.count('up'), serverHost.count('gone')]).toEqual([1, 1, 0]);
    expect([clientHost.count('up'), clientHost.count('back')]).toEqual([1, 0]);
  });

  it('carry networks behind the client', () => {
    const networks = [inner('10.9.8.0/24')];
    const { world, server, serverHost, client } = pair(1, serverConfig(), clientConfig({ networks }));
    world.run(SECOND);
    const session = server.sessionOfPeer(server.peerOf[0]);
    expect(server.owner4(Uint8Array.of(10, 9, 8, 77), 0)).toBe(session);
    expect(server.owner4(Uint8Array.of(10, 9, 7, 77), 0)).toBe(-1);
    expect(serverHost.events[0].networks).toEqual(networks);
    client.close(world.now);
    world.run(2 * SECOND);
    expect(server.owner4(Uint8Array.of(10, 9, 8, 77), 0)).toBe(-1);
  });

  it('carry IPv6', () => {
    const addresses = [inner('fd00::2/64'), inner('10.0.0.2/24')];
    const { world, server } = pair(1, serverConfig(), clientConfig({ addresses }));
    world.run(SECOND);
    expect(server.owner6(addresses[0].address.bytes, 0)).toBe(0);
    expect(server.owner4(addresses[1].address.bytes, 0)).toBe(0);
  });

  it('need no inner address where they carry frames', () => {
    const { world, client } = pair(1, serverConfig({ layer: 2 }), clientConfig({ layer: 2, addresses: [] }));
    world.run(SECOND);
    expect(client.state).toBe('up');
  });

  it('agree on the keepalive interval of the client, within limits', () => {
    const { world, client, clientHost } = pair(1, serverConfig(), clientConfig({ keepalive: 5 }));
    world.run(3 * SECOND);
    clientHost.record = true;
    world.run(13 * SECOND);
    const keepalives = clientHost.sent.filter(({ bytes }) => bytes[5] === 5).length;
    expect(client.state).toBe('up');
    expect(keepalives).toBeGreaterThan(90);
    expect(keepalives).toBeLessThan(115);
  });

  it('refuse settings that fit in no message', () => {
    expect(() => pair(1, serverConfig({ mtu: 100 }))).toThrow(/mtu: found 100.*512 to 65507/);
    const addresses = [...Array(9)].map((_, i) => inner(`10.0.0.${i + 2}/24`));
    expect(() => pair(1, serverConfig(), clientConfig({ addresses }))).toThrow(/addresses: found 9/);
    expect(() => pair(1, serverConfig(), clientConfig({ networks: [inner('10.9.0.1/16')] }))).toThrow(
      /networks/,
    );
  });
});

describe('a server refuses', () => {
  const cases: [string, string, RegExp, Partial<ServerConfig>, Partial<ClientConfig>][] = [
    [
      'an address outside',
      'outside',
      /10\.1\.0\.2 .*10\.0\.0\.0\/24, fd00::\/64, 10\.9\.0\.0\/16$/,
      {},
      at('10.1.0.2/24'),
    ],
    ['its own address', 'taken', /10\.0\.0\.1 is the server's own/, {}, at('10.0.0.1/24')],
    ['a network address', 'invalid', /10\.0\.0\.0 is the network or broadcast/, {}, at('10.0.0.0/24')],
    ['a broadcast address', 'invalid', /10\.0\.0\.255 .* 10\.0\.0\.0\/24/, {}, at('10.0.0.255/24')],
    ['the anycast address of routers', 'invalid', /fd00:: is/, {}, at('fd00::/64')],
    [
      'a multicast address',
      'invalid',
      /cannot be a host/,
      { routes: [inner('0.0.0.0/0')] },
      at('224.0.0.5/24'),
    ],
    [
      'a loopback address',
      'invalid',
      /cannot be a host/,
      { routes: [inner('0.0.0.0/0')] },
      at('127.0.0.1/8'),
    ],
    ['no address at all', 'invalid', /no inner address/, {}, { addresses: [] }],
    [
      'a network it has no route for',
      'outside',
      /10\.8\.0\.0\/24 is outside of 10\.9/,
      {},
      via('10.8.0.0/24'),
    ],
    [
      'a network larger than its route',
      'outside',
      /10\.0\.0\.0\/8 is outside of 10\.9/,
      {},
      via('10.0.0.0/8'),
    ],
    ['a network when it has no routes', 'outside', /has no routes/, { routes: [] }, via('10.8.0.0/24')],
    ['frames where it carries packets', 'layer', /carries IP packets \(layer 3\)/, {}, { layer: 2 }],
    ['who comes from elsewhere', 'not-allowed', /network you come/, { allow: [inner('198.51.0.0/24')] }, {}],
    ['who comes when it is full', 'full', /all 0 places/, { maxClients: 0 }, {}],
  ];

  it.each(cases)('%s (%s)', (_what, code, text, server, client) => {
    const {
      world,
      server: s,
      client: c,
      clientHost,
      serverHost,
    } = pair(1, serverConfig(server), clientConfig(client));
    world.run(10 * SECOND);
    expect([c.state, s.count]).toEqual(['hello', 0]);
    // Said once, though the client goes on asking.
    expect(clientHost.events.filter((event) => event.type === 'refused')).toMatchObject([{ reason: code }]);
    expect(clientHost.events[0].text).toMatch(text);
    expect(serverHost.events[0]).toMatchObject({ type: 'refused', reason: code, session: -1 });
    expect(serverHost.pinned.size).toBe(0);
  });

  it('nobody who comes from an allowed network', () => {
    const { world, client } = pair(1, serverConfig({ allow: [inner('198.51.100.0/24')] }));
    world.run(SECOND);
    expect(client.state).toBe('up');
  });

  it('a client of another version, and the client says what both speak', () => {
    const world = new World(1);
    const [serverHost, clientHost] = [new Host(world, SERVER), new Host(world, row('198.51.100.7', 40000))];
    const server = serve(serverHost);
    const transmit = world.transmit.bind(world);
    world.transmit = (from, to, bytes, fragmentable) => {
      if (bytes[5] === 1) bytes[4] = 9;
      transmit(from, to, bytes, fragmentable);
    };
    connect(clientHost);
    world.run(3 * SECOND);
    expect(server.count).toBe(0);
    expect(clientHost.events[0]).toMatchObject({ type: 'refused', reason: 'version' });
    expect(clientHost.events[0].text).toMatch(/speaks version 1/);
  });

  function at(address: string): Partial<ClientConfig> {
    return { addresses: [inner(address)] };
  }

  function via(network: string): Partial<ClientConfig> {
    return { networks: [inner(network)] };
  }
});

describe('an inner address that is held', () => {
  /** A server, a client with 10.0.0.2, and a newcomer who wants it too. */
  function rivals(config = clientConfig()) {
    const parts = pair();
    parts.world.run(1.55 * SECOND);
    const newHost = new Host(parts.world, row('198.51.100.8', 40000));
    parts.serverHost.record = true;
    return { ...parts, newHost, newcomer: connect(newHost, config) };
  }

  /** How many KEEPALIVEs one host sent to another. */
  function questions(from: Host, to: Host): number {
    return from.sent.filter((each) => each.bytes[5] === 5 && `${each.to}` === `${to.self}`).length;
  }

  it('stays with a holder who answers', () => {
    const { world, server, client, newcomer, newHost, serverHost } = rivals();
    world.run(8 * SECOND);
    expect([client.state, newcomer.state, server.count, server.pending]).toEqual(['up', 'hello', 1, 0]);
    expect(newHost.events.map((event) => event.type)).toContain('refused');
    expect(newHost.events.find((event) => event.type === 'refused')).toMatchObject({
      reason: 'taken',
      text: '10.0.0.2/32 is held by another client, which answers',
    });
    expect(serverHost.pinned.size).toBe(1);
  });

  it('goes to the newcomer after three questions 200 ms apart to which the holder is silent', () => {
    const { world, server, clientHost, newcomer, newHost, serverHost } = rivals();
    clientHost.control = undefined;
    world.run(2.1 * SECOND);
    expect([server.count, server.pending, newcomer.state]).toEqual([1, 1, 'hello']);
    world.run(2.25 * SECOND);
    expect([server.count, server.pending, newcomer.state]).toEqual([1, 0, 'up']);
    expect(server.owner4(Uint8Array.of(10, 0, 0, 2), 0)).toBe(
      server.sessionOfPeer(serverHost.rowOf(newHost.self)),
    );
    expect(questions(serverHost, clientHost)).toBe(3);
    expect(serverHost.events.slice(0, 4).map((event) => `${event.type} ${event.reason}`.trim())).toEqual([
      'up',
      'pmtu',
      'gone replaced',
      'up',
    ]);
  });

  it('goes at once to a client that was restarted on the same port', () => {
    const { world, server, serverHost, clientHost } = pair();
    world.run(1.55 * SECOND);
    const again = connect(clientHost);
    world.run(1.595 * SECOND);
    expect([again.state, server.count]).toEqual(['up', 1]);
    expect(serverHost.events.slice(0, 4).map((event) => `${event.type} ${event.reason}`.trim())).toEqual([
      'up',
      'pmtu',
      'gone restarted',
      'up',
    ]);
  });

  it('is asked for once, however often the newcomer repeats itself', () => {
    const { world, clientHost, newHost, serverHost } = rivals();
    clientHost.control = undefined;
    world.channel.duplicate = 1;
    world.run(2.3 * SECOND);
    expect(newHost.count('up')).toBe(1);
    expect(questions(serverHost, clientHost)).toBe(3);
  });

  it('cannot be taken as part of a network, and a holder may be asked for several things', () => {
    const { world, server, newcomer } = rivals(
      clientConfig({ addresses: [inner('10.0.0.3/24'), inner('10.0.0.2/24')] }),
    );
    world.run(3 * SECOND);
    expect([newcomer.state, server.count]).toEqual(['hello', 1]);
    expect(server.owner4(Uint8Array.of(10, 0, 0, 3), 0)).toBe(-1);
  });

  it('goes to the first of two newcomers', () => {
    const { world, server, clientHost, newcomer, newHost } = rivals();
    clientHost.control = undefined;
    world.run(1.7 * SECOND);
    const lateHost = new Host(world, row('198.51.100.9', 40000));
    const late = connect(lateHost);
    world.run(5 * SECOND);
    expect([newcomer.state, late.state, server.count]).toEqual(['up', 'hello', 1]);
    expect([newHost.count('up'), lateHost.count('refused')]).toEqual([1, 1]);
  });

  it('comes free at once when its holder says goodbye while it is asked', () => {
    const { world, client, newcomer } = rivals();
    world.channel.delay = 50 * MS;
    world.run(1.6 * SECOND);
    client.close(world.now);
    world.run(1.9 * SECOND);
    expect(newcomer.state).toBe('up');
  });
});

describe('many clients', () => {
  it('come back by themselves after a restart of the server', () => {
    const world = new World(3);
    const serverHost = new Host(world, SERVER);
    serve(serverHost);
    const clients = [...Array(200)].map((_, i) => {
      const host = new Host(world, row(`198.51.100.${i}`, 40000));
      return connect(host, clientConfig({ addresses: [inner(`10.0.0.${i + 2}/24`)] }));
    });
    world.run(3 * SECOND);
    expect(clients.every((client) => client.state === 'up')).toBe(true);
    const server = serve(serverHost);
    world.run(6 * SECOND);
    expect(server.count).toBe(200);
    expect(clients.every((client) => client.state === 'up')).toBe(true);
  });
});
