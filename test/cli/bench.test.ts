import { describe, expect, it } from 'vitest';
import { type Measured, roundTrips } from '../../src/cli/bench/measure.ts';
import { activeIn, benchText } from '../../src/cli/bench.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import type { AppReport } from '../../src/engine/app.ts';
import type { NetworkReport } from '../../src/engine/report.ts';

const reportOf = (apps: Record<string, AppReport>): NetworkReport => ({
  time: 0,
  breaths: 0,
  links: [],
  formerDrops: {},
  memory: { smallSlots: 0, smallUsed: 0, largeSlots: 0, largeUsed: 0, livePackets: 0 },
  apps: Object.entries(apps).map(([app, report]) => ({
    app,
    packetsPerBreath: 0,
    drops: {},
    lingering: false,
    report,
  })),
});
const tun = { vnetHeader: true, tso: true, uso: true };
const trip = { median: 40, average: 41, worst: 90 };
const measured: Measured = {
  wire: { tcpForward: 20e9, tcpReverse: 20e9, smallPackets: 300_000, idle: trip },
  tunnel: {
    tcpForward: 12e9,
    tcpReverse: 10e9,
    smallPackets: 200_000,
    idle: { ...trip, median: 70 },
    loaded: { ...trip, median: 1234 },
  },
  processorPerGigabyte: 0.666,
  rootless: false,
  report: reportOf({ tun, udp: { gso: true, gro: true } }),
};

describe('the table of a measurement', () => {
  it('has the tunnel beside the wire, and the share', () => {
    const text = benchText(measured, []);
    expect(text).toMatch(/TCP to the server +│ +20\.0 Gbit\/s │ +12\.0 Gbit\/s │ +60 % │/);
    expect(text).toMatch(/UDP, 64 bytes each +│ +300 kpkt\/s │ +200 kpkt\/s │ +67 % │/);
    expect(text).toMatch(/round trip, idle +│ +40 µs │ +70 µs/);
    expect(text).toMatch(/round trip beside TCP .*1 234 µs/);
    expect(text).toContain('0.67 s/GB');
    expect(text).toContain('in use: vnet_hdr, TSO, USO, UDP_SEGMENT, UDP_GRO, worker thread');
    expect(text).toContain('nothing holds this machine back');
    expect(text).not.toContain('the load itself is the limit');
  });

  it('says what is not in use, what holds back, and what helps', () => {
    const report = reportOf({ tun: { ...tun, uso: false }, udp: { gso: false, gro: true } });
    const slow: Finding = {
      group: 'g',
      name: 'AVX2',
      mark: 'slow',
      found: 'no',
      cost: 'time',
      remedy: 'buy',
    };
    const text = benchText({ ...measured, report }, [slow, { ...slow, name: 'fine', mark: 'ok' }]);
    expect(text).toContain('not in use: USO, UDP_SEGMENT');
    expect(text).toContain('- AVX2: no (time)\n    buy');
    expect(text).toContain('- gso: not used');
    expect(text).not.toContain('- fine');
  });

  it('does not take the limit of the load for the tunnel’s', () => {
    const even = { ...measured.tunnel, smallPackets: 299_000 };
    expect(benchText({ ...measured, tunnel: even }, [])).toContain('the load itself is the limit');
  });

  it('stands without ping and without a report', () => {
    const text = benchText(
      { ...measured, report: undefined, tunnel: { ...measured.tunnel, idle: undefined, loaded: undefined } },
      [],
    );
    expect(text).toContain('apt-get install iputils-ping');
    expect(Object.values(activeIn(undefined)).some(Boolean)).toBe(false);
  });
});

it('round trips are read from ping, in microseconds', () => {
  const line = (ms: string) => `64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 ${ms} ms\n`;
  expect(roundTrips(`${line('time=0.050')}${line('time=0.040')}${line('time=1.5')}\n--- statistics`)).toEqual(
    {
      median: 50,
      average: 530,
      worst: 1500,
    },
  );
  expect(roundTrips('100% packet loss')).toBeUndefined();
});
