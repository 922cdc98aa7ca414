import { describe, expect, it } from 'vitest';
import { inner, MS, pair, SECOND } from './control-world.ts';

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
  });

  it('find the path MTU in both directions', () => {
    const { world, server, client } = pair();
    world.run(2 * SECOND);
    expect(client.mtu).toBe(1472);
    expect(server.mtu[0]).toBe(1472);
  });
});
