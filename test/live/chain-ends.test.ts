import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';
import { chainHosts, EGRESS, INGRESS, SERVER, TO_SERVER } from './chain-world.ts';
import { pings } from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'ping');

describe.skipIf(skip)('a client and a server with a chain between them', () => {
  it('reach each other, IPv4 and IPv6, and nothing is left behind', async () => {
    await using hosts = await chainHosts();
    const { client, ingress, egress, server } = hosts;
    const all = [client, ingress, egress, server];
    const before = await Promise.all(all.map((host) => host.snapshot()));
    await hosts.replica(0);
    const out = await hosts.start(egress, EGRESS);
    const into = await hosts.start(ingress, INGRESS);
    const from = await hosts.start(client, TO_SERVER);
    expect(await pings(client, SERVER.v4)).toBe(true);
    expect(await pings(client, SERVER.v6)).toBe(true);
    await sleep(200);
    for (const each of [from, into, out]) {
      expect((await each.stop('SIGTERM', 6000)).code).toBe(0);
    }
    expect(await Promise.all(all.map((host) => host.snapshot()))).toEqual(before);
  }, 60_000);
});
