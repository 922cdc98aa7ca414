/** Superframes out and in, beside the same exchange packet by packet. */
import { describe, expect, it } from 'vitest';
import { join, type PairOptions, pair, type Seen } from './pair.ts';

const MSS = 1448;

/** All that a wire packet says of TCP. */
const said = ({ time, from, seq, ack, flags, length, window, options, ecn }: Seen) =>
  JSON.stringify({ time, from, seq, ack, flags, length, window, options, ecn });

interface Scenario extends PairOptions {
  bytes: number;
  tcp?: object;
  address?: string;
  /** Which of the data packets from the left are lost. */
  lost?: number[];
}

async function exchange(scenario: Scenario, superframes: boolean) {
  const { bytes, tcp = {}, address, lost = [] } = scenario;
  await using world = await pair({ ...scenario, superframes, cut: superframes });
  let count = 0;
  world.taps.left.judge = ({ length }) => length === 0 || !lost.includes(count++);
  const { client, server } = join(world, { ...tcp, ...(address && { address }) }, tcp);
  client.send(bytes);
  world.runtime.advance('30ms');
  server.send(20_000);
  world.runtime.advance('20s');
  expect(server.received).toBe(bytes);
  expect([server.wrong, client.wrong]).toEqual([0, 0]);
  expect(client.events).toEqual(['connected', 'end', 'closed']);
  const { retransmissions, recoveries, timeouts, segmentsSent } = client.connection.figures();
  return { seen: world.seen, figures: { retransmissions, recoveries, timeouts, segmentsSent } };
}

const SCENARIOS: [string, Scenario][] = [
  ['a transfer', { bytes: 1_000_000 }],
  ['one that ends inside a segment', { bytes: 10 * MSS + 1 }],
  ['one that ends with a full segment', { bytes: 10 * MSS }],
  ['one segment', { bytes: 100 }],
  ['without time stamps', { bytes: 300_000, tcp: { timestamps: false } }],
  ['without SACK and window scaling', { bytes: 300_000, tcp: { sack: false, windowScaling: false } }],
  ['IPv6', { bytes: 300_000, address: 'fd00::2' }],
  ['an MTU of 1280', { bytes: 300_000, mtu: 1280 }],
  ['with ECN', { bytes: 300_000, tcp: { ecn: true } }],
  ['losses within trains', { bytes: 400_000, lost: [12, 25, 26, 27, 60, 61, 100] }],
  ['losses of what was sent again', { bytes: 400_000, lost: [12, 35, 36, 37, 38, 39, 40, 41] }],
  ['losses of the tail', { bytes: 40 * MSS, lost: [37, 38, 39] }],
  ['losses without SACK', { bytes: 100_000, lost: [12, 25], tcp: { sack: false } }],
];

describe('superframes that leave', () => {
  for (const [name, scenario] of SCENARIOS) {
    it(`are on the wire what packets are: ${name}`, async () => {
      const packets = await exchange(scenario, false);
      const whole = await exchange(scenario, true);
      expect(whole.seen.map(said)).toEqual(packets.seen.map(said));
      expect(whole.figures).toEqual(packets.figures);
    });
  }
});

describe('superframes that come', () => {
  const BYTES = 4_000_000;
  const inside = (options: Partial<PairOptions>) =>
    pair({ superframes: true, way: 'delay 10ms', back: 'delay 10ms', ...options });
  const lost = (world: Awaited<ReturnType<typeof pair>>) =>
    world.net.report().apps.find(({ app }) => app === 'up')!.drops.loss ?? 0;

  it('are one segment with one ACK, and end with PSH or FIN', async () => {
    await using world = await inside({});
    const { client, server } = join(world);
    client.send(BYTES);
    world.runtime.advance('5s');
    expect([server.received, server.wrong]).toEqual([BYTES, 0]);
    const trains = world.seen.filter(({ from, length }) => from === 'left' && length > 0);
    const answers = world.seen.filter(({ from, flags }) => from === 'right' && flags === '.');
    expect(Math.max(...trains.map(({ length }) => length))).toBe(44 * MSS);
    expect(trains.every(({ length }, i) => i === trains.length - 1 || length % MSS === 0)).toBe(true);
    expect(answers.length).toBeLessThanOrEqual(trains.length);
    expect(trains.at(-1)!.flags).toBe('FP.');
    expect(trains.filter(({ flags }) => flags.includes('F'))).toHaveLength(1);
    expect(server.connection.figures().segmentsReceived).toBeGreaterThan(BYTES / MSS);
  });

  it.each([
    ['with time stamps', {}],
    ['without', { timestamps: false }],
    ['over IPv6', { address: 'fd00::2' }],
  ])('lose parts, of which selective ACKs tell exactly: %s', async (_, options) => {
    await using world = await inside({ way: 'delay 10ms loss 1%', seed: 5 });
    const { client, server } = join(world, options);
    client.send(BYTES);
    world.runtime.advance('20s');
    expect([server.received, server.wrong]).toEqual([BYTES, 0]);
    const { retransmissions, timeouts, recoveries } = client.connection.figures();
    expect(lost(world)).toBeGreaterThan(20);
    // Nothing was sent again that had arrived; a lost ACK or FIN is among what was lost.
    expect(retransmissions).toBeLessThanOrEqual(lost(world));
    expect(retransmissions).toBeGreaterThanOrEqual(lost(world) - 2);
    expect(timeouts).toBe(0);
    expect(recoveries).toBeLessThanOrEqual(retransmissions);
  });

  it('are marked in parts, which is echoed, and loses nothing', async () => {
    await using world = await inside({ way: 'delay 10ms loss 1% ecn', seed: 5 });
    const { client, server } = join(world, { ecn: true });
    client.send(BYTES);
    world.runtime.advance('20s');
    expect([server.received, server.wrong]).toEqual([BYTES, 0]);
    expect(client.connection.figures()).toMatchObject({ retransmissions: 0, recoveries: 0, timeouts: 0 });
    expect(client.connection.figures().ssthresh).toBeLessThan(1e6);
    const echoes = world.seen.filter(({ from, flags }) => from === 'right' && flags.includes('E'));
    const reduced = world.seen.filter(({ from, flags }) => from === 'left' && flags.includes('W'));
    expect(echoes.length).toBeGreaterThan(10);
    // One segment for each reduction, not a train of them; the SYN asks.
    expect(reduced.length).toBeGreaterThan(5);
    expect(reduced.slice(1).every(({ length }) => length <= MSS)).toBe(true);
  });
});
