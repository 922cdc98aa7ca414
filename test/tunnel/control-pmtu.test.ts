import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BASE_MTU, PathMtu, RESOLUTION } from '../../src/tunnel/control/pmtu.ts';
import { clientConfig, MS, pair, SECOND, seeded, serverConfig } from './control-world.ts';

/** Runs a search over a path of `width` bytes until it rests; returns the sizes probed and the time it took. */
function search(path: PathMtu, width: number, from: number, loss = 0, random = seeded(1)) {
  const probes: number[] = [];
  const rtt = 20 * MS;
  let now = from;
  while (path.deadline - now < 4 * SECOND) {
    now = Math.max(now, path.deadline);
    const sequence = path.sequence;
    const size = path.poll(now, rtt, now, false); // somebody is heard all the time
    if (size === 0) continue;
    path.sequence++;
    probes.push(size);
    if (size <= width && random.unit() >= loss) path.answered(now + rtt, sequence, size);
    if (probes.length > 200) throw new Error('never ends');
  }
  return { probes, time: now - from };
}

describe('the search for the path MTU', () => {
  it('needs one probe when the maximum fits', () => {
    const path = new PathMtu();
    path.start(0, 1472);
    expect(search(path, 1472, 0).probes).toEqual([1472]);
    expect(path.current).toBe(1472);
  });

  it('ends within 8 bytes below what the path carries, whatever that is', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 512, max: 9000 }),
        fc.integer({ min: 512, max: 9000 }),
        (width, maximum) => {
          const path = new PathMtu();
          path.start(0, maximum);
          const { probes, time } = search(path, width, 0);
          const best = Math.min(width, maximum);
          expect(path.current).toBeLessThanOrEqual(best);
          expect(path.current).toBeGreaterThan(best - RESOLUTION);
          expect(Math.max(...probes)).toBeLessThanOrEqual(maximum);
          expect(time).toBeLessThan(6 * SECOND);
        },
      ),
      { seed: 7, numRuns: 300 },
    );
  });

  it('takes less than 2.5 s for what is found between two Ethernets', () => {
    for (let width = 1200; width < 1472; width++) {
      const path = new PathMtu();
      path.start(0, 1472);
      expect(search(path, width, 0).time).toBeLessThan(2.5 * SECOND);
    }
  });

  it('never trusts a size that is too large, also when probes are lost by chance', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const path = new PathMtu();
      path.start(0, 1472);
      search(path, 1400, 0, 0.2, seeded(seed));
      expect(path.current).toBeLessThanOrEqual(1400);
    }
  });

  it('waits for no answer to a probe that the system refuses', () => {
    for (const width of [600, 1100, 1300, 1464]) {
      const path = new PathMtu();
      path.start(0, 9000);
      for (let probes = 0; path.deadline === 0; probes++) {
        expect(probes).toBeLessThan(20);
        const size = path.poll(0, 0, 0, false);
        path.sequence++;
        if (size > width) path.tooLong(0, size);
        else path.answered(0, path.sequence - 1, size);
      }
      expect(path.current).toBeLessThanOrEqual(width);
      expect(path.current).toBeGreaterThan(width - RESOLUTION);
    }
  });

  it('falls at once when the system refuses what passed before', () => {
    const path = new PathMtu();
    path.start(0, 1472);
    search(path, 1472, 0);
    path.tooLong(SECOND, 1472);
    expect(path.current).toBe(BASE_MTU);
    search(path, 1300, SECOND);
    expect(path.current).toBeLessThanOrEqual(1300);
    expect(path.current).toBeGreaterThan(1300 - RESOLUTION);
  });

  it('ends whatever is refused', () => {
    const random = seeded(3);
    for (let round = 0; round < 300; round++) {
      const path = new PathMtu();
      path.start(0, 512 + (random.u32() % 9000));
      for (let i = 0; i < 5; i++) path.tooLong(0, (random.u32() % 3000) - 10);
      search(path, 1400, 0);
      expect(path.current).toBeGreaterThanOrEqual(64);
      expect(path.current).toBeLessThanOrEqual(1400);
    }
  });

  it('stays at BASE with a peer that answers no probes', () => {
    const path = new PathMtu();
    path.fix(1472);
    expect([path.current, path.deadline]).toEqual([BASE_MTU, Infinity]);
  });

  it('believes no answer to a probe of an earlier path', () => {
    const path = new PathMtu();
    path.start(0, 1472);
    path.poll(0, 0, 0, false);
    path.sequence = 1;
    path.start(1, 1472);
    path.poll(1, 0, 0, false);
    path.sequence = 2;
    path.answered(2, 0, 1472);
    expect(path.current).toBe(BASE_MTU);
    path.answered(2, 2, 1472); // never sent
    expect(path.current).toBe(BASE_MTU);
    path.answered(2, 1, 1472);
    expect(path.current).toBe(1472);
  });
});

describe('a tunnel', () => {
  it.each([512, 900, 1199, 1280, 1400, 1464, 1472])('over a path of %i bytes finds it both ways', (width) => {
    const { world, server, client, serverHost, clientHost } = pair();
    world.channel.mtu = width;
    world.run(10 * SECOND);
    for (const mtu of [client.mtu, server.mtu[0]]) {
      expect(mtu).toBeLessThanOrEqual(width);
      expect(mtu).toBeGreaterThan(width - RESOLUTION);
    }
    expect(serverHost.events.at(-1)).toMatchObject({ type: 'pmtu', mtu: server.mtu[0] });
    expect(clientHost.events.at(-1)).toMatchObject({ type: 'pmtu', mtu: client.mtu });
  });

  it('sends nothing larger than what either end accepts', () => {
    const { world, server, client } = pair(1, serverConfig({ mtu: 1350 }), clientConfig({ mtu: 1472 }));
    world.channel.mtu = 9000;
    world.run(5 * SECOND);
    expect([client.mtu, server.mtu[0]]).toEqual([1350, 1350]);
  });

  it('notices within 7 s that a path became smaller while it is used, and finds the new size', () => {
    const { world, server, client, clientHost, serverHost } = pair();
    world.run(3 * SECOND);
    world.channel.mtu = 1300;
    const use = (): void => {
      client.large = 1;
      server.large[0] = 1;
      world.at(world.now + 100 * MS, use);
    };
    use();
    world.run(10 * SECOND);
    expect(client.mtu).toBeLessThanOrEqual(1300);
    expect(server.mtu[0]).toBeLessThanOrEqual(1300);
    world.run(15 * SECOND);
    expect(client.mtu).toBeGreaterThan(1292);
    expect(server.mtu[0]).toBeGreaterThan(1292);
    expect([clientHost.count('silent'), serverHost.count('silent')]).toEqual([0, 0]);
    expect(clientHost.events.filter((event) => event.type === 'pmtu').map((event) => event.mtu)).toEqual([
      1472,
      BASE_MTU,
      client.mtu,
    ]);
  });

  it('sends no probes while it is at rest', () => {
    const { world, clientHost, serverHost } = pair();
    world.run(3 * SECOND);
    clientHost.record = serverHost.record = true;
    world.run(300 * SECOND);
    const large = [...clientHost.sent, ...serverHost.sent].filter(({ bytes }) => bytes.length > 100);
    expect(large).toEqual([]);
  });

  it('finds within 10 minutes that a path became larger', () => {
    const { world, server, client } = pair();
    world.channel.mtu = 1300;
    world.run(10 * SECOND);
    world.channel.mtu = 1472;
    world.run(620 * SECOND);
    expect([client.mtu, server.mtu[0]]).toEqual([1472, 1472]);
  });

  it('tries larger sizes at once when the path comes back from silence', () => {
    const { world, server, client } = pair();
    world.channel.mtu = 1300;
    world.run(10 * SECOND);
    world.channel.cut = true;
    world.run(20 * SECOND);
    Object.assign(world.channel, { cut: false, mtu: 1472 });
    world.run(24 * SECOND);
    expect([client.mtu, server.mtu[0]]).toEqual([1472, 1472]);
  });

  it('takes a cut path for silent, not for small', () => {
    const { world, server, client, clientHost } = pair();
    world.run(3 * SECOND);
    for (let i = 0; i < 10; i++) {
      client.large = server.large[0] = 1;
      world.channel.cut = true;
      world.run(world.now + 2500 * MS);
      world.channel.cut = false;
      world.run(world.now + 4 * SECOND);
      expect([client.mtu, server.mtu[0]]).toEqual([1472, 1472]);
    }
    expect(clientHost.events.filter((event) => event.type === 'pmtu')).toHaveLength(1);
  });

  it('probes with datagrams that may not be fragmented, and with nothing else so', () => {
    const { world, clientHost, serverHost } = pair();
    clientHost.record = serverHost.record = true;
    world.channel.mtu = 1400;
    world.run(20 * SECOND);
    for (const { bytes, fragmentable } of [...clientHost.sent, ...serverHost.sent]) {
      expect(fragmentable).toBe(bytes[5] !== 9);
    }
  });
});
