import { describe, expect, it } from 'vitest';
import { deliveryWorld } from './world.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const SERVER = { address: '203.0.113.9', port: 80 };

/** A connection of the client, with what it was told. */
function dial(
  world: Awaited<ReturnType<typeof deliveryWorld>>,
  to: { address: string; port: number } = SERVER,
) {
  const told: string[] = [];
  let text = '';
  const connection = world.client.connect(to, {
    onConnected: () => told.push('connected'),
    onReadable: () => {
      const into = new Uint8Array(connection.readable);
      text += new TextDecoder().decode(into.subarray(0, connection.read(into)));
    },
    onEnd: () => told.push('end'),
    onClosed: (error) => told.push(`closed ${error ?? ''}`.trim()),
  });
  world.runtime.advance('10ms');
  return {
    connection,
    told,
    get text() {
      return text;
    },
  };
}

describe('TCP that is delivered by sockets', () => {
  it('answers the SYN only when the way out is open, and joins the two', async () => {
    await using world = await deliveryWorld();
    const { runtime, outward } = world;
    const client = dial(world);
    runtime.advance('5s');
    expect(outward.connections.map(({ to }) => to)).toEqual(['203.0.113.9 80']);
    expect(client.told).toEqual([]);
    const [out] = outward.connections as [(typeof outward.connections)[0]];
    out.handlers.onConnected();
    runtime.advance('3s');
    expect(client.told).toEqual(['connected']);
    client.connection.write(bytes('question'));
    runtime.advance('10ms');
    expect(out.text).toBe('question');
    expect(out.handlers.onData(bytes('answer'))).toBe(true);
    runtime.advance('10ms');
    expect(client.text).toBe('answer');
  });

  it('passes the end of each direction on by itself', async () => {
    await using world = await deliveryWorld();
    const { runtime, outward } = world;
    const client = dial(world);
    const out = outward.connections[0]!;
    out.handlers.onConnected();
    runtime.advance('10ms');
    client.connection.write(bytes('all'));
    client.connection.end();
    runtime.advance('10ms');
    expect(out.text).toBe('all');
    expect(out.ended).toBe(true);
    out.handlers.onData(bytes('and more'));
    runtime.advance('10s');
    expect(client.text).toBe('and more');
    expect(client.told).toEqual(['connected']);
    out.handlers.onEnd();
    out.handlers.onClosed(undefined);
    runtime.advance('10ms');
    expect(client.told).toEqual(['connected', 'end', 'closed']);
    expect(world.delivery.report()).toMatchObject({ connections: 0, opened: 1, broken: 0, failed: 0 });
  });

  it.each([
    ['ECONNREFUSED', 'ECONNREFUSED'],
    ['EACCES', 'EHOSTUNREACH'],
  ])('tells of %s at once', async (error, told) => {
    await using world = await deliveryWorld();
    const client = dial(world);
    world.outward.connections[0]!.handlers.onClosed(error);
    world.runtime.advance('10ms');
    expect(client.told).toEqual([`closed ${told}`]);
    const six = dial(world, { address: '2001:db8::1', port: 80 });
    world.outward.connections[1]!.handlers.onClosed(error);
    world.runtime.advance('10ms');
    expect(six.told).toEqual([`closed ${told}`]);
  });

  it('tells of a host that cannot be reached as a router does, and asks again with each SYN', async () => {
    await using world = await deliveryWorld();
    const client = dial(world);
    world.outward.connections[0]!.handlers.onClosed('EHOSTUNREACH');
    world.runtime.advance('1500ms');
    expect(world.outward.connections).toHaveLength(2);
    world.outward.connections[1]!.handlers.onConnected();
    world.runtime.advance('10ms');
    expect(client.told).toEqual(['connected']);
  });

  it('passes resets on, both ways', async () => {
    await using world = await deliveryWorld();
    const { runtime, outward } = world;
    const [a, b] = [dial(world), dial(world)];
    for (const { handlers } of outward.connections) handlers.onConnected();
    runtime.advance('10ms');
    a.connection.reset();
    outward.connections[1]!.handlers.onClosed('ECONNRESET');
    runtime.advance('10ms');
    expect(outward.connections[0]!.wasReset).toBe(true);
    expect(b.told).toEqual(['connected', 'closed ECONNRESET']);
    expect(world.delivery.report()).toMatchObject({ connections: 0, broken: 2 });
  });

  it('holds up a client whose receiver is slow, with bounded memory', async () => {
    await using world = await deliveryWorld({ buffer: 65_536 });
    const { runtime, outward } = world;
    const client = dial(world);
    const out = outward.connections[0]!;
    out.takes = false;
    out.handlers.onConnected();
    runtime.advance('10ms');
    const sent = client.connection.write(new Uint8Array(1 << 20));
    runtime.advance('20s');
    expect(out.written).toHaveLength(1);
    expect(out.bytes).toBeLessThanOrEqual(65_536);
    // What waits here, and what the client itself has not sent.
    expect(client.connection.figures().bytesSent).toBeLessThan(3 * 65_536);
    out.takes = true;
    out.handlers.onDrain();
    runtime.advance('60s');
    expect(out.bytes).toBe(sent);
  });

  it('holds up a receiver whose client is slow', async () => {
    await using world = await deliveryWorld({ buffer: 65_536 });
    const { runtime, outward, client } = world;
    let slow = true;
    let read = 0;
    const connection = client.connect(
      { ...SERVER, receiveBuffer: 65_536 },
      {
        onReadable: () => {
          if (!slow) read += connection.read(new Uint8Array(1 << 20));
        },
      },
    );
    runtime.advance('10ms');
    const out = outward.connections[0]!;
    out.handlers.onConnected();
    runtime.advance('10ms');
    let given = 0;
    let more = true;
    while (more) {
      more = out.handlers.onData(new Uint8Array(16_384));
      given += 16_384;
      runtime.advance('10ms');
    }
    expect(given).toBeLessThan(4 * 65_536);
    expect(out.resumed).toBe(0);
    slow = false;
    read += connection.read(new Uint8Array(1 << 20));
    runtime.advance('10s');
    expect(out.resumed).toBeGreaterThan(0);
    expect(read).toBe(given);
  });

  it('ends what it has opened when the network ends', async () => {
    const world = await deliveryWorld();
    dial(world);
    dial(world);
    world.outward.connections[0]!.handlers.onConnected();
    world.runtime.advance('10ms');
    await world.net.close();
    expect(world.outward.connections.map(({ wasReset }) => wasReset)).toEqual([true, true]);
  });

  it('has as many connections as it may, and of one client', async () => {
    await using world = await deliveryWorld({ connections: 3, perSource: 2 });
    for (let i = 0; i < 5; i++) dial(world);
    expect(world.outward.connections).toHaveLength(2);
    expect(world.delivery.report()).toMatchObject({ connections: 2, refused: 3 });
    world.outward.connections[0]!.handlers.onClosed('ECONNREFUSED');
    world.runtime.advance('2s');
    expect(world.outward.connections).toHaveLength(3);
  });

  it('gives up a way out that is not open after two minutes', async () => {
    await using world = await deliveryWorld();
    const client = dial(world);
    world.runtime.advance('200s');
    expect(world.outward.connections.filter(({ wasReset }) => !wasReset)).toHaveLength(0);
    expect(client.told).toEqual(['closed ETIMEDOUT']);
  });
});

describe('what may be reached', () => {
  it.each(['169.254.169.254', '100.100.100.200', '168.63.129.16', '::127.0.0.1', 'fd00:ec2::254'])(
    'is not %s',
    async (address) => {
      await using world = await deliveryWorld();
      const client = dial(world, { address, port: 80 });
      expect(client.told).toEqual(['closed EHOSTUNREACH']);
      expect(world.outward.connections).toEqual([]);
      expect(world.delivery.report()).toMatchObject({ prohibited: 1 });
    },
  );

  it('is no address of this machine', async () => {
    await using world = await deliveryWorld({}, ['203.0.113.9', 'fe80::1', '::1']);
    expect(dial(world).told).toEqual(['closed EHOSTUNREACH']);
    await using open = await deliveryWorld({ trusted: true }, ['203.0.113.9']);
    dial(open);
    expect(open.outward.connections).toHaveLength(1);
  });

  it('is what the longest prefix says', async () => {
    await using world = await deliveryWorld({
      deny: ['203.0.113.0/24', '10.0.0.0/8'],
      allow: ['203.0.113.8/29', '169.254.169.254'],
    });
    dial(world);
    dial(world, { address: '203.0.113.77', port: 80 });
    dial(world, { address: '10.1.1.1', port: 80 });
    dial(world, { address: '169.254.169.254', port: 80 });
    expect(world.outward.connections.map(({ to }) => to)).toEqual(['203.0.113.9 80', '169.254.169.254 80']);
  });

  it('is another address, or another port, where one is mapped', async () => {
    await using world = await deliveryWorld({
      map: ['203.0.113.9=127.0.0.1', '203.0.113.9:53=127.0.0.53:5353', '[2001:db8::9]:80=127.0.0.1:8080'],
    });
    dial(world);
    dial(world, { address: '203.0.113.9', port: 53 });
    dial(world, { address: '2001:db8::9', port: 80 });
    expect(world.outward.connections.map(({ to }) => to)).toEqual([
      '127.0.0.1 80',
      '127.0.0.53 5353',
      '127.0.0.1 8080',
    ]);
  });

  it('is told wrongly by nobody', async () => {
    await expect(deliveryWorld({ map: ['203.0.113.9:53=127.0.0.1'] })).rejects.toThrow(/port on both sides/);
    await expect(deliveryWorld({ allow: ['10.0.0.0/33'] })).rejects.toThrow(/10\.0\.0\.0\/33/);
  });
});

describe('UDP that is delivered by sockets', () => {
  function talk(world: Awaited<ReturnType<typeof deliveryWorld>>, remote: string) {
    const heard: string[] = [];
    const socket = world.client.udp({
      remote,
      onMessage: (message, from) => heard.push(`${from} ${new TextDecoder().decode(message)}`),
      onError: ({ errno }) => heard.push(String(errno)),
    });
    return { socket, heard };
  }

  it.each(['203.0.113.9:53', '[2001:db8::9]:53'])('has a socket for each flow to %s', async (remote) => {
    await using world = await deliveryWorld();
    const { runtime, outward } = world;
    const [a, b] = [talk(world, remote), talk(world, remote)];
    a.socket.send(bytes('a1'));
    a.socket.send(bytes('a2'));
    b.socket.send(bytes(''));
    runtime.advance('1ms');
    expect(outward.sockets.map(({ sent }) => sent)).toEqual([['a1', 'a2'], ['']]);
    outward.sockets[0]!.handlers.onMessage(bytes('answer'));
    outward.sockets[1]!.handlers.onMessage(bytes('x'.repeat(4000)));
    runtime.advance('1ms');
    expect(a.heard).toEqual([`${remote} answer`]);
    expect(b.heard).toEqual([`${remote} ${'x'.repeat(4000)}`]);
  });

  it('tells of a port where nobody listens, and of what may not be reached', async () => {
    await using world = await deliveryWorld();
    const { runtime, outward } = world;
    const [a, b, c] = [
      talk(world, '203.0.113.9:9'),
      talk(world, '169.254.169.254:53'),
      talk(world, '[2001:db8::9]:9'),
    ];
    for (const { socket } of [a, b, c]) socket.send(bytes('x'));
    runtime.advance('1ms');
    for (const socket of outward.sockets) socket.handlers.onError('ECONNREFUSED');
    runtime.advance('1ms');
    expect([a.heard, b.heard, c.heard]).toEqual([['ECONNREFUSED'], ['EHOSTUNREACH'], ['ECONNREFUSED']]);
  });

  it('ends flows that are silent, questions early', async () => {
    await using world = await deliveryWorld({ udp: '100s', udpQuestion: '10s' });
    const { runtime, outward, delivery } = world;
    const [question, talker] = [talk(world, '203.0.113.9:53'), talk(world, '203.0.113.9:5000')];
    question.socket.send(bytes('q'));
    talker.socket.send(bytes('t'));
    runtime.advance('11s');
    expect(outward.sockets.map(({ closed }) => closed)).toEqual([true, false]);
    runtime.advance('80s');
    outward.sockets[1]!.handlers.onMessage(bytes('still there'));
    runtime.advance('90s');
    expect(outward.sockets[1]!.closed).toBe(false);
    runtime.advance('20s');
    expect(outward.sockets[1]!.closed).toBe(true);
    expect(delivery.report()).toMatchObject({ flows: 0, datagramsUp: 2, datagramsDown: 1 });
  });

  it('has as many flows as it may, and of one client', async () => {
    await using world = await deliveryWorld({ flows: 3 });
    for (let i = 0; i < 5; i++) talk(world, '203.0.113.9:5000').socket.send(bytes('x'));
    world.runtime.advance('1ms');
    expect(world.outward.sockets).toHaveLength(3);
    expect(world.drops()).toMatchObject({ 'udp-flows': 2 });
    await using narrow = await deliveryWorld({ perSource: 2 });
    for (let i = 0; i < 5; i++) talk(narrow, '203.0.113.9:5000').socket.send(bytes('x'));
    narrow.runtime.advance('1ms');
    expect(narrow.outward.sockets).toHaveLength(2);
    expect(narrow.delivery.report()).toMatchObject({ refused: 3, flows: 2 });
  });

  it('tries another way when there was none', async () => {
    await using world = await deliveryWorld();
    const { socket, heard } = talk(world, '203.0.113.9:5000');
    socket.send(bytes('1'));
    world.runtime.advance('1ms');
    world.outward.sockets[0]!.handlers.onError('ENETUNREACH');
    world.runtime.advance('1ms');
    socket.send(bytes('2'));
    world.runtime.advance('1ms');
    expect(world.outward.sockets.map(({ closed, sent }) => [closed, sent])).toEqual([
      [true, ['1']],
      [false, ['2']],
    ]);
    expect(heard).toEqual(['EHOSTUNREACH']);
  });
});

describe('the delivery itself', () => {
  it('answers pings to its own address, without a socket', async () => {
    await using world = await deliveryWorld({ addresses: ['10.8.0.1'] });
    const mine = world.client.ping('10.8.0.1');
    world.runtime.advance('10s');
    expect((await mine).result).toBe('reply');
    expect(world.outward.pings).toEqual([]);
  });
});
