import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CaptureReader } from '../../src/packet/index.ts';
import { createWorld, type Host, type HostProcess, type World } from '../../src/testing/index.ts';
import { root } from '../house/sources.ts';
import { needs } from '../needs.ts';
import { ping, untilPing } from './tunnel-end.ts';

const example = (name: string) => path.join(root, 'examples', name);

/** Ctrl-C, and how it ended. */
async function interrupt(process: HostProcess): Promise<string> {
  const { code } = await process.stop('SIGINT', 20_000);
  expect({ code, stderr: process.stderr }).toEqual({ code: 0, stderr: '' });
  return process.stdout;
}

describe.skipIf(needs('root', 'tun', 'ping'))('an example between two interfaces', () => {
  let world: World;
  let a: Host;
  let b: Host;
  let middle: Host;

  beforeEach(async () => {
    world = await createWorld();
    [a, middle, b] = await Promise.all([world.host('a'), world.host('middle'), world.host('b')]);
    // One name at both ends would show which end an example means; these are the names that it is given.
    await world.wire(a, middle, { a: '10.5.0.1/24', names: { b: 'veth0' } });
    await world.wire(b, middle, { a: '10.5.0.2/24', names: { b: 'veth1' } });
  });
  afterEach(() => world.close());

  it('drop-odd.mjs passes pings of even length, and drops and counts those of odd length', async () => {
    const running = middle.node(example('drop-odd.mjs'), ['veth0', 'veth1']);
    await running.waitFor('are joined');
    expect(await ping(a, '10.5.0.2', 3, '-s', '56')).toBe(3);
    expect(await ping(a, '10.5.0.2', 3, '-s', '57')).toBe(0);
    expect(await interrupt(running)).toMatch(/odd dropped \{ 'odd-length': [34] \}/);
  });

  it('bridge.mjs passes frames both ways and writes those of the left into a file', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'bridge-'));
    try {
      const file = path.join(folder, 'left.pcapng');
      const running = middle.node(example('bridge.mjs'), ['veth0', 'veth1', file]);
      await running.waitFor('are joined');
      expect(await ping(a, '10.5.0.2', 5)).toBe(5);
      expect(await interrupt(running)).toMatch(/left\.out -> tee\.in: \d+ packets/);
      const reader = new CaptureReader();
      const records = reader.push(await readFile(file));
      reader.end();
      const requests = records.filter(({ bytes }) => bytes[23] === 1 && bytes[34] === 8);
      expect(requests).toHaveLength(5);
      expect(reader.interfaces.map(({ name }) => name)).toEqual(['left']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe.skipIf(needs('root', 'tun', 'ping'))('an example of a host of its own', () => {
  let world: World;
  let a: Host;
  let b: Host;

  beforeEach(async () => {
    world = await createWorld();
    [a, b] = await Promise.all([world.host('a'), world.host('b')]);
    await world.wire(a, b, { a: '192.168.6.8/24', b: '192.168.6.9/24' });
  });
  afterEach(() => world.close());

  it('open-tun.mjs answers pings', async () => {
    const running = a.node(example('open-tun.mjs'));
    await running.waitFor('is up');
    expect(await ping(a, '10.9.0.2')).toBe(3);
    expect(await ping(a, 'fd00:9::2')).toBe(3);
  });

  it('two-tunnels.mjs has two tunnels in one process at both ends, and leaves nothing behind', async () => {
    const before = await Promise.all([a.snapshot(), b.snapshot()]);
    const server = b.node(example('two-tunnels.mjs'), ['server']);
    await server.waitFor(/frames0 is up/);
    await server.waitFor(/ip0 is up/);
    const client = a.node(example('two-tunnels.mjs'), ['client', '192.168.6.9']);
    await client.waitFor(/frames0 is up: 10\.2\.0\.2/);
    await client.waitFor(/ip0 is up: 10\.1\.0\.2/);
    await untilPing(a, '10.1.0.1', 3000);
    await untilPing(a, '10.2.0.1', 3000);
    expect(await ping(b, '10.1.0.2')).toBe(3);
    expect(await ping(b, '10.2.0.2')).toBe(3);
    await interrupt(client);
    expect(await interrupt(server)).toMatch(/ip0: .* came(.|\n)*ip0: .* gone/);
    expect(await Promise.all([a.snapshot(), b.snapshot()])).toEqual(before);
  });
});
