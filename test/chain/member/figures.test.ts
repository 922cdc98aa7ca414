import { describe, expect, it } from 'vitest';
import { figuresOf } from '../../../src/chain/member/figures.ts';
import type { NetworkReport } from '../../../src/engine/report.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { TENANT } from '../roulette/roulette-world.ts';
import { memberWorld } from './member-world.ts';

function report(links: Record<string, number>, apps: [string, Record<string, number>][]): NetworkReport {
  return {
    time: 5e9,
    breaths: 1,
    links: Object.entries(links).map(([link, packets]) => ({
      ...{ link, layer: 'L3', packets, bits: 800 * packets, dropped: 0, waiting: 0 },
    })),
    apps: apps.map(([app, counts]) => ({
      ...{
        app,
        packetsPerBreath: 1,
        drops: { 'no-path': 2, 'chain-probe': 1 },
        lingering: false,
        report: counts,
      },
    })),
    formerDrops: { gone: 1 },
    memory: { smallSlots: 0, smallUsed: 0, largeSlots: 0, largeUsed: 0, livePackets: 0 },
  };
}

describe('what a member tells of its packets', () => {
  it('is, of a function, what it gets and what it lets go, without the headers of the chain', () => {
    const network = report(
      { 'udp.out -> hop.outside': 99, 'hop.function -> vnf.in': 10, 'vnf.out -> hop.function': 8 },
      [['hop', {}]],
    );
    expect(figuresOf(network, 'hop')).toEqual({
      ...{ time: 5e9, packetsIn: 10, bytesIn: 1000, packetsOut: 8, bytesOut: 800, drops: 4 },
    });
  });

  it('is, of an end, what goes into the chains there and what comes out, by chain', () => {
    const counts = { 'chain.7.packetsIn': 5, 'chain.7.bytesIn': 500, 'chain.0.packetsIn': 4, flows: 3 };
    const links = { 'tun.out -> end.inside': 9, 'end.inside -> tun.in': 6, 'end.outside -> chain.in': 50 };
    expect(figuresOf(report(links, [['end', counts]]), 'end')).toEqual({
      ...{ time: 5e9, packetsIn: 9, bytesIn: 900, packetsOut: 6, bytesOut: 600, drops: 4 },
      chains: [{ spi: 7, packetsIn: 5, bytesIn: 500, packetsOut: 0, bytesOut: 0 }],
    });
  });

  it('comes to Roulette with each renewal of the lease, as it was a moment before', () => {
    const { world, host, runtime, settle } = memberWorld();
    const fw = host('fw');
    let packets = 0;
    const measure = () => {
      const figures = {
        ...{ time: runtime.now(), packetsIn: packets, bytesIn: 100 * packets, packetsOut: 0, bytesOut: 0 },
        drops: 0,
      };
      runtime.timer(runtime.now(), () => fw.member.receive({ figures }));
    };
    fw.member.join({ update: () => {}, measure });
    settle();
    for (let i = 0; i < 40; i++) {
      packets += 100;
      runtime.advance(SECOND / 10);
    }
    const [rates] = world.roulette.rates(TENANT);
    expect(rates!.replica).toBe(fw.member.id);
    // 1000 a second, in steps of 100.
    expect(rates!.packetsIn).toBeGreaterThan(800);
    expect(rates!.packetsIn).toBeLessThan(1200);
    expect(rates!.span).toBeLessThan(SECOND);
  });
});
