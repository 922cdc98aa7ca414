/** Traffic that a topology has of itself. */
import { describe, expect, it } from 'vitest';
import { Simulation, type Topology } from '../../../src/sim/index.ts';

/** 10 Mbit/s and 20 ms there and back. */
const lab = (
  flows: NonNullable<Topology['flows']>,
  impair: unknown = { both: 'delay 10ms rate 10mbit' },
): Topology => ({
  seed: 2,
  hosts: { a: {}, b: {} },
  links: { wire: { between: ['a 10.0.0.1/24 fd00::1/64', 'b 10.0.0.2/24 fd00::2/64'], impair } },
  flows,
});

describe('flows', () => {
  it('of TCP are limited by the receive buffer for each round trip', async () => {
    await using sim = await Simulation.start(
      lab({ narrow: { kind: 'tcp', from: 'a', to: 'b', receiveBuffer: '32kb', for: '10s' } }, 'delay 10ms'),
    );
    await sim.run('11s');
    const [narrow] = sim.flows;
    expect(narrow).toMatchObject({ state: 'done', kind: 'tcp', retransmissions: 0, rtt: 20e6 });
    const expected = (32_768 * 8) / 0.02;
    expect(narrow!.goodput).toBeGreaterThan(0.94 * expected);
    expect(narrow!.goodput).toBeLessThan(expected);
  });

  it('of TCP are limited by the rate', async () => {
    await using sim = await Simulation.start(
      lab({ wide: { kind: 'tcp', from: 'b', to: 'a', at: '1s', bytes: '1mb', congestion: 'newreno' } }),
    );
    await sim.run('10s');
    const [wide] = sim.flows;
    expect(wide).toMatchObject({ state: 'done', sentBytes: 1 << 20, receivedBytes: 1 << 20 });
    expect(wide!.goodput).toBeGreaterThan(7e6);
    expect(wide!.goodput).toBeLessThan(10e6);
    expect(wide!.rtt).toBeGreaterThan(20e6);
  });

  it('of UDP go at their rate, and say what was lost and how long it took', async () => {
    await using sim = await Simulation.start(
      lab(
        { voice: { kind: 'udp', from: 'a', to: 'b', rate: '64kbit', size: 160, for: '100s' } },
        'delay 30ms loss 10%',
      ),
    );
    await sim.run('101s');
    const [voice] = sim.flows;
    expect(voice).toMatchObject({
      state: 'done',
      sentPackets: 5000,
      sentBytes: 800_000,
      rtt: 30e6,
      maxRtt: 30e6,
    });
    // 4500 of 5000, by three standard deviations.
    expect(Math.abs(voice!.receivedPackets - 4500)).toBeLessThan(64);
  });

  it('of echo requests have the time there and back, over IPv6 too', async () => {
    await using sim = await Simulation.start(
      lab({ six: { kind: 'ping', from: 'b', to: 'a', family: 6, every: '100ms', for: '1s' } }, 'delay 30ms'),
    );
    await sim.run('2s');
    expect(sim.flows).toMatchObject([
      { state: 'done', sentPackets: 10, receivedPackets: 10, rtt: 60e6, minRtt: 60e6, maxRtt: 60e6 },
    ]);
  });

  it('end with the host that sends, and say what failed', async () => {
    await using sim = await Simulation.start(
      lab({
        bulk: { kind: 'tcp', from: 'a', to: 'b' },
        early: { kind: 'ping', from: 'a', to: 'b', at: '9s', for: '1ms' },
      }),
      {
        faults: [
          { at: '1s', crash: 'a' },
          { at: '2s', start: 'a' },
        ],
      },
    );
    await sim.run('1500ms');
    expect(sim.flows[0]).toMatchObject({ state: 'failed: host crashed' });
    await sim.runTo(10e9);
    expect(sim.flows).toMatchObject([
      { state: 'failed: host crashed' },
      { state: 'done', sentPackets: 1, receivedPackets: 1 },
    ]);
  });

  it.each([
    [{ kind: 'tcp', from: 'a', to: 'c' }, 'flows.f.to: found "c", expected one of the hosts'],
    [{ kind: 'sctp', from: 'a', to: 'b' }, /flows\.f.*expected "kind": "tcp", "udp" or "ping"/],
    [
      { kind: 'tcp', from: 'a', to: 'b', receiveBuffer: 10 },
      'flows.f.receiveBuffer: found 10, expected 4096 bytes or more',
    ],
    [{ kind: 'udp', from: 'a', to: 'b' }, /flows\.f\.rate/],
    [
      { kind: 'udp', from: 'a', to: 'b', rate: 'fast' },
      'flows.f.rate: found "fast", expected a rate such as 5mbit',
    ],
  ])('are checked: %j', async (flow, message) => {
    await expect(Simulation.start(lab({ f: flow as never }))).rejects.toThrow(message);
  });

  it('have a port each', async () => {
    const flow = { kind: 'tcp', from: 'a', to: 'b', port: 80 } as const;
    await expect(Simulation.start(lab({ f: flow, g: flow }))).rejects.toThrow(
      'flows.g.port: found 80, which is that of f, too',
    );
  });
});
