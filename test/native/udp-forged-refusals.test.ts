import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../src/native/load.ts';
import { UnreachableReason, unreachable } from '../../src/packet/icmp-error.ts';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { addressBytes, pattern, setRow, TestPool, TunEnd, UdpEnd } from './support.ts';

describe.skipIf(needs('root', 'netns', 'tun'))('a refusal', () => {
  let world: World;
  let host: Host;
  beforeAll(async () => {
    world = await createWorld();
    host = await world.host('member');
  });
  afterAll(async () => {
    await world.close();
  });

  test.each([
    { own: '10.9.0.1/24', peer: '10.9.0.2', other: '10.9.0.3', address: '0.0.0.0', dualStack: false },
    { own: '10.9.0.1/24', peer: '10.9.0.2', other: '10.9.0.3', address: '::', dualStack: true },
    { own: 'fd00:9::1/64', peer: 'fd00:9::2', other: 'fd00:9::3', address: '::', dualStack: false },
  ])('of $peer is believed when it comes from there (socket at $address)', async (each) => {
    const { own, peer, other, address, dualStack } = each;
    const pool = new TestPool();
    const tun = new TunEnd(pool, { netns: host.path, name: 'tforge%d', offload: false });
    const udp = new UdpEnd(pool, { netns: host.path, address, dualStack, refusals: true });
    try {
      await host.exec(['ip', 'address', 'add', own, 'dev', tun.handle.name, 'nodad'], { check: true });
      await host.exec(['ip', 'link', 'set', tun.handle.name, 'up'], { check: true });
      setRow(udp.addresses, 0, peer, 4790);
      native().addressPin(udp.id, 0);
      const refusedBy = async (who: string) => {
        udp.send([udp.to(0, pattern(64, 1))]);
        const sent = (await tun.collect(1)).find(
          (bytes) => bytes.length > 64 && bytes.at(-1) === pattern(64, 1)[63],
        )!;
        const into = new Uint8Array(1500);
        const length = unreachable(
          sent,
          0,
          sent.length,
          UnreachableReason.Port,
          addressBytes(who),
          0,
          into,
          0,
        );
        tun.send([pool.put(into.slice(0, length))]);
        await sleep(5);
        udp.receive();
        return udp.addresses.refused[1];
      };
      expect(await refusedBy(other)).toBe(0);
      expect(await refusedBy(peer)).toBe(1);
      expect(await refusedBy(other)).toBe(1);
    } finally {
      tun.close();
      udp.close();
      pool.detach();
    }
  });
});
