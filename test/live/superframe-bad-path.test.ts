/** TCP through the command over a path that loses, repeats and reorders datagrams: slower, never wrong. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADDRESSES,
  compileFlows,
  OFFLOADS_OFF,
  type Program,
  sendFlows,
  serveFlows,
  startPair,
} from '../../scripts/flows.mjs';
import { createWorld } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';

const MANGLE = fileURLToPath(new URL('fixtures/mangle.mjs', import.meta.url));
const PROBABILITY = 0.01;

describe.skipIf(needs('root', 'tun', 'ping', 'gcc'))('over a path that loses, repeats and reorders', () => {
  let flows: Program;
  beforeAll(async () => {
    flows = await compileFlows();
  });
  afterAll(() => flows.close());

  it.each([
    ['offloads on, IPv4, TUN', 4, ''],
    ['offloads on, IPv6, TUN', 6, ''],
    ['offloads off, IPv4, TUN', 4, OFFLOADS_OFF],
    ['offloads off, IPv6, TUN', 6, OFFLOADS_OFF],
    ['offloads on, IPv4, TAP', 4, '--tap'],
  ] as const)('16 TCP flows arrive as they were sent: %s', async (_, family, words) => {
    await using world = await createWorld({ name: 'bad-path' });
    const [server, middle, client] = await Promise.all(['s', 'm', 'c'].map((name) => world.host(name)));
    const { outer, server: address } = ADDRESSES[family];
    const length = family === 4 ? 24 : 64;
    const { b: left } = await world.wire(server!, middle!, { a: `${outer.server}/${length}` });
    const { b: right } = await world.wire(client!, middle!, { a: `${outer.client}/${length}` });
    const mangle = middle!.node(MANGLE, [left.name, right.name, `${PROBABILITY}`, '11']);
    await mangle.waitFor('up');
    await startPair(server!, client!, { family, words });
    await serveFlows(flows.program, server!, address);

    const bytes = 500_001;
    const result = await sendFlows(flows.program, client!, address, { flows: 16, bytes, timeout: 40_000 });
    expect(result).toMatchObject({ flows: 16, equal: 16, bytes: 16 * bytes });

    await mangle.stop('SIGTERM');
    const { passed, ...harm } = JSON.parse(mangle.stdout.trim().split('\n').at(-1)!);
    // Datagrams of at most 1472 bytes, and what acknowledges them.
    expect(passed).toBeGreaterThan((16 * bytes) / 1472);
    for (const count of [harm.lost, harm.repeated, harm.reordered]) {
      expect(count).toBeGreaterThan((passed * PROBABILITY) / 2);
      expect(count).toBeLessThan(passed * PROBABILITY * 2);
    }
  });
});
