import { describe, expect, it } from 'vitest';
import { randomStream } from '../../../src/engine/random.ts';
import { tcpPacket } from '../../../src/packet/build.ts';
import { Flag, parse } from '../../../src/packet/tcp.ts';
import { testHost } from '../hosts.ts';
import { End, join, pair, RIGHT } from './pair.ts';

describe('many connections', () => {
  it('200 at once each get what is theirs', async () => {
    await using world = await pair({ way: 'delay 10ms loss 1%', keep: false });
    const servers: End[] = [];
    world.right.listen({ port: 80 }, (connection) => {
      const end = new End(world.runtime);
      end.connection = connection;
      servers.push(end);
      end.send(20_000);
      return end.handlers;
    });
    const clients = Array.from({ length: 200 }, () => {
      const end = new End(world.runtime);
      end.connection = world.left.connect({ address: RIGHT, port: 80 }, end.handlers);
      end.send(50_000);
      return end;
    });
    world.runtime.advance('60s');
    expect(clients.every((end) => end.received === 20_000 && end.wrong === 0)).toBe(true);
    expect(servers.every((end) => end.received === 50_000 && end.wrong === 0)).toBe(true);
    world.runtime.advance('61s');
    for (const side of [world.left, world.right])
      expect(side.tcp).toMatchObject({ connections: 0, timeWaits: 0, memory: 0 });
  });

  it('2000 in a row leave nothing behind', async () => {
    await using world = await pair({ way: 'delay 1ms', keep: false });
    world.right.listen({ port: 80 }, (connection) => ({
      onReadable: () => connection.write(new Uint8Array(connection.read(new Uint8Array(100)))),
      onEnd: () => connection.end(),
    }));
    let echoed = 0;
    for (let i = 0; i < 2000; i++) {
      const connection = world.left.connect(
        { address: RIGHT, port: 80 },
        {
          onReadable: () => {
            echoed += connection.read(new Uint8Array(100));
            connection.end();
          },
        },
      );
      connection.write(new Uint8Array(10));
      world.runtime.advance('10ms');
    }
    expect(echoed).toBe(20_000);
    expect(world.left.tcp).toMatchObject({ connections: 0, timeWaits: 2000, memory: 0 });
    world.runtime.advance('61s');
    expect(world.left.tcp).toMatchObject({ connections: 0, timeWaits: 0, memory: 0 });
    expect(world.right.tcp).toMatchObject({ connections: 0, timeWaits: 0, memory: 0 });
    expect(world.net.report().memory.livePackets).toBe(0);
  });
});

describe('a flood of SYNs', () => {
  it('leaves the service alive, and memory as it was', async () => {
    await using world = await testHost();
    const { host, port, runtime } = world;
    let accepted = 0;
    host.listen({ port: 80, backlog: 64 }, () => {
      accepted++;
      return {};
    });
    const random = randomStream(1, 'flood');
    for (let burst = 0; burst < 100; burst++) {
      for (let i = 0; i < 200; i++) {
        const from = `10.0.0.${3 + random.below(200)}:${1024 + random.below(60_000)}`;
        port.send(
          tcpPacket({
            from,
            to: '10.0.0.2:80',
            flags: Flag.Syn,
            sequence: random.u32(),
            tcpOptions: { mss: 1460 },
          }),
        );
      }
      runtime.advance('1ms');
      port.received.length = 0;
    }
    expect(host.tcp.connections).toBe(64);
    expect(host.tcp.cookiesSent).toBeGreaterThan(19_000);
    // Somebody honest, in the middle of it: the cookie is all that is remembered.
    const tcpOptions = { mss: 1460, sackPermitted: true, windowScale: 5, timestamps: { value: 77, echo: 0 } };
    const [answer] = world.exchange(
      tcpPacket({ from: '10.0.0.1:5000', to: '10.0.0.2:80', flags: Flag.Syn, sequence: 1000, tcpOptions }),
    );
    const { sequence, options: said } = parse(answer!, 20)!;
    expect(said).toMatchObject({ mss: 1460, sackPermitted: true, windowScale: 7, timestamps: { echo: 77 } });
    world.exchange(
      tcpPacket({
        from: '10.0.0.1:5000',
        to: '10.0.0.2:80',
        flags: Flag.Ack,
        sequence: 1001,
        acknowledgment: (sequence + 1) >>> 0,
        tcpOptions: { timestamps: { value: 78, echo: said.timestamps!.value } },
      }),
    );
    expect(accepted).toBe(1);
    // A cookie of one's own making is refused.
    const forged = world.exchange(
      tcpPacket({
        from: '10.0.0.1:5001',
        to: '10.0.0.2:80',
        flags: Flag.Ack,
        sequence: 1001,
        acknowledgment: 5,
      }),
    );
    expect(parse(forged[0]!, 20)!.flags).toBe(4);
    expect(accepted).toBe(1);
    runtime.advance('60s');
    expect(host.tcp.connections).toBe(1);
  });
});

describe('the same seed', () => {
  it('has the same packets, and another seed others', async () => {
    const run = async (seed: number) => {
      await using world = await pair({ way: 'delay 10ms 2ms reorder 2% gap 1 loss 2%', seed });
      const { client } = join(world);
      client.send(500_000);
      world.runtime.advance('20s');
      return world.digest();
    };
    expect(await run(7)).toBe(await run(7));
    expect(await run(8)).not.toBe(await run(7));
  });
});
