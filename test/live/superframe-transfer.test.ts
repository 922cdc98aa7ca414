/** TCP through the command, checked by hash at its ends: each way to carry it, each switch, many flows at once. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  ADDRESSES,
  COMBINATIONS,
  compileFlows,
  type Family,
  OFFLOADS_OFF,
  type Program,
  sendFlows,
  serveFlows,
  startPair,
  twoEnds,
} from '../../scripts/flows.mjs';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';

const MB = 1 << 20;

describe.skipIf(needs('root', 'tun', 'ping', 'gcc'))('TCP through the command', () => {
  let flows: Program;
  let world: World;
  let server: Host;
  let client: Host;

  beforeAll(async () => {
    flows = await compileFlows();
  });
  afterAll(() => flows.close());

  beforeEach(async () => {
    world = await createWorld({ name: 'transfer' });
    ({ server, client } = await twoEnds(world));
  });
  afterEach(() => world.close());

  /** Both ways, one after the other. */
  async function bothWays(
    { family, words }: { family: Family; words: string },
    options: { flows?: number; bytes?: number; choppy?: boolean },
  ) {
    const inner = ADDRESSES[family];
    const { far, near } = await startPair(server, client, { family, words });
    const arrived = [];
    for (const [from, to, address] of [
      [client, server, inner.server],
      [server, client, inner.client],
    ] as const) {
      const listener = await serveFlows(flows.program, to, address);
      const {
        flows: n,
        equal,
        bytes,
      } = await sendFlows(flows.program, from, address, { seed: 7, ...options });
      arrived.push({ flows: n, equal, bytes });
      await listener.stop('SIGKILL');
    }
    for (const end of [near, far]) {
      expect(await end.stop('SIGINT')).toEqual({ code: 0, signal: null });
      expect(end.stderr).toBe('');
    }
    const { flows: n = 1, bytes = MB } = options;
    const whole = { flows: n, equal: n, bytes: n * bytes };
    expect(arrived).toEqual([whole, whole]);
  }

  it.each(COMBINATIONS)('arrives as it was sent, both ways: $title', async (combination) => {
    await bothWays(combination, { bytes: 16 * MB });
  });

  it.each(['--no-gso', '--no-gro', '--no-vnet-hdr'])(
    'arrives as it was sent with %s alone',
    async (words) => {
      await bothWays({ family: 4, words }, { bytes: 8 * MB });
      await bothWays({ family: 6, words }, { bytes: 8 * MB });
    },
  );

  it.each([
    ['on', 4, ''],
    ['on', 6, ''],
    ['off', 4, OFFLOADS_OFF],
  ] as const)('100 flows at once, in segments of any size, offloads %s, IPv%i', async (_, family, words) => {
    await bothWays({ family, words }, { flows: 100, bytes: 100_001, choppy: true });
  });
});
