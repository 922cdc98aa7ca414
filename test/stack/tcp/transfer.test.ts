import { describe, expect, it } from 'vitest';
import { join, pair } from './pair.ts';

describe('a connection', () => {
  it('opens, carries bytes both ways, and closes', async () => {
    await using world = await pair();
    const { client, server } = join(world);
    client.send(100_000);
    world.runtime.advance('2s');
    expect(server.received).toBe(100_000);
    expect(server.wrong).toBe(0);
    server.send(50_000);
    world.runtime.advance('2s');
    expect(client.received).toBe(50_000);
    expect(client.wrong).toBe(0);
    expect(client.events).toEqual(['connected', 'end', 'closed']);
    expect(server.events).toEqual(['connected', 'end', 'closed']);
    expect(world.left.tcp).toMatchObject({ connections: 0, timeWaits: 1, memory: 0 });
    expect(world.right.tcp).toMatchObject({ connections: 0, timeWaits: 0, memory: 0 });
    world.runtime.advance('61s');
    expect(world.left.tcp.timeWaits).toBe(0);
  });
});
