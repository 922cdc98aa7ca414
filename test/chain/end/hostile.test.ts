/** A million packets of a chain that were changed on their way, by members: at both ends nothing is thrown, and none is lost uncounted. */
import { afterEach, expect, it } from 'vitest';
import { EndsWorld, flows, packetOf } from './ends-world.ts';

let world: EndsWorld;
afterEach(() => world.net.close());

it('a million mutated packets of a chain are delivered or dropped with a reason, all of them', async () => {
  world = await new EndsWorld().start([], {});
  let state = 0x9e3779b9;
  const random = (below: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  let mutated = 0;
  world.fabric.spoil = (pool, packet) => {
    const at = pool.offset[packet]!;
    for (let flips = 1 + random(3); flips > 0; flips--)
      pool.slab[at + random(pool.length[packet]!)]! ^= 1 << random(8);
    if (random(8) === 0) pool.length[packet] = random(pool.length[packet]! + 1);
    world.fabric.apart = random(4) === 0;
    mutated++;
  };
  const there = flows(400).map((flow) => packetOf(flow, flow));
  const back = flows(400).map((flow) => packetOf(flow, flow, true));
  let sent = 0;
  let delivered = 0;
  while (mutated < 1_000_000) {
    for (const packet of there) world.client.send(packet);
    for (const packet of back) world.server.send(packet);
    sent += 800;
    world.pass();
    delivered += world.client.received.splice(0).length + world.server.received.splice(0).length;
  }
  const drops = world.drops;
  const dropped = Object.values(drops).reduce((sum, n) => sum + n, 0);
  const count = (key: string) => Number(world.report('ingress')[key]) + Number(world.report('egress')[key]);
  // What was echoed or answered is one more packet, and came to one of these ends as well.
  expect(delivered + dropped + world.fabric.lost).toBe(sent + count('icmpSent') - count('answersHeard'));
  expect(delivered).toBeGreaterThan(100_000);
  const expected = [
    'chain-encapsulation',
    'chain-misdirected',
    'chain-unknown',
    'inner-malformed',
    'nsh-length',
    'nsh-metadata-type',
    'nsh-next-protocol',
    'nsh-no-path',
    'nsh-service-index',
    'nsh-tlv',
    'nsh-truncated',
    'nsh-version',
  ];
  expect(Object.keys(drops)).toEqual(expect.arrayContaining(expected));
  expect(world.net.report().memory.livePackets).toBe(0);
}, 300_000);
