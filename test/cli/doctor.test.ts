import { describe, expect, it } from 'vitest';
import { type Finding, isFit } from '../../src/cli/doctor/finding.ts';
import { describeProbe } from '../../src/cli/doctor/offloads.ts';
import { isSegment, type ProbeResult } from '../../src/cli/doctor/probe.ts';
import { counterOf, describeTunnel, type RunningTunnel } from '../../src/cli/doctor/tunnels.ts';
import { doctorText } from '../../src/cli/doctor.ts';
import type { AppReport } from '../../src/engine/app.ts';
import { TunOffload } from '../../src/native/binding.ts';
import { tcpPacket, udpPacket } from '../../src/packet/index.ts';

const ALL = TunOffload.checksum | TunOffload.tso4 | TunOffload.tso6 | TunOffload.uso;
const perfect: ProbeResult = {
  tun: { vnetHeader: 12, offloads: ALL },
  packetSocket: { vnetHeader: 10 },
  udp: { gso: 'passed', gro: 'passed' },
  superframes: { tso4: 'passed', tso6: 'passed', uso4: 'passed', uso6: 'passed' },
};
const troubles = (result: Partial<ProbeResult>) =>
  describeProbe({ ...perfect, ...result })
    .filter(({ mark }) => mark !== 'ok')
    .map(({ name, found }) => `${name}: ${found}`);

describe('what the trial of the offloads means', () => {
  it('is nothing where all of them work', () => {
    expect(troubles({})).toEqual([]);
    expect(describeProbe(perfect)).toHaveLength(7);
  });

  it('names an offload that the kernel does not have', () => {
    expect(troubles({ tun: { vnetHeader: 12, offloads: ALL & ~TunOffload.uso }, superframes: {} })).toEqual([
      'USO: the kernel has none',
    ]);
    expect(troubles({ udp: { gso: 'absent', gro: 'absent' } })).toEqual([
      'UDP_SEGMENT: the kernel has none',
      'UDP_GRO: the kernel has none',
    ]);
  });

  it('tells a kernel that corrupts from one that refuses, and from one that lacks', () => {
    expect(troubles({ superframes: { ...perfect.superframes, uso6: 'failed' } })).toEqual([
      'USO: there, but what arrives is not what was sent',
    ]);
    expect(troubles({ superframes: { ...perfect.superframes, tso4: 'absent' } })).toEqual([
      'TSO for IPv4: there, but refuses good superframes (EINVAL)',
    ]);
  });

  it('says why, where there is no TUN at all, and the rest goes on', () => {
    const found = troubles({ tun: { error: 'EPERM: operation not permitted' }, superframes: {} });
    expect(found).toHaveLength(4);
    expect(found[0]).toBe('vnet_hdr: EPERM: operation not permitted');
  });

  it('gives a cost and a remedy for every one that is not well', () => {
    const worst = describeProbe({
      tun: { vnetHeader: 0, offloads: 0 },
      packetSocket: { error: 'EPERM' },
      udp: { gso: 'failed', gro: 'absent' },
      superframes: {},
    });
    expect(worst.every(({ mark, cost, remedy }) => mark === 'slow' && cost && remedy)).toBe(true);
  });
});

describe('a wire packet that the kernel cut', () => {
  const payload = Uint8Array.from({ length: 2500 }, (_, i) => i * 3);
  const kind = { name: 'tso4', version: 4, protocol: 6, gsoType: 1, offload: TunOffload.tso4 } as const;
  const from = '10.84.1.2:1';
  const segment = (i: number, more: object = {}) =>
    tcpPacket({
      from,
      to: '10.84.2.2:2',
      sequence: 1_000_000 + i * 1000,
      payload: payload.subarray(i * 1000, (i + 1) * 1000),
      ...more,
    });

  it('is good with its bytes, its sequence number and its checksums, also the short last one', () => {
    expect([0, 1, 2].map((i) => isSegment(segment(i), kind, payload, i))).toEqual([true, true, true]);
  });

  it('is bad with any one of them wrong', () => {
    expect(isSegment(segment(1, { sequence: 1_000_000 }), kind, payload, 1)).toBe(false);
    expect(isSegment(segment(0), kind, payload, 1)).toBe(false);
    expect(isSegment(segment(2).subarray(0, -1), kind, payload, 2)).toBe(false);
    for (const at of [8, 36, 60]) {
      const packet = segment(0);
      packet[at]! ^= 4;
      expect(isSegment(packet, kind, payload, 0)).toBe(false);
    }
  });

  it('may be of UDP over IPv6', () => {
    const six = { name: 'uso6', version: 6, protocol: 17, gsoType: 5, offload: TunOffload.uso } as const;
    const packet = udpPacket({ from: '[fd84:1::2]:1', to: '[fd84:2::2]:2', payload: payload.subarray(2000) });
    expect(isSegment(packet, six, payload, 2)).toBe(true);
    packet[45]! ^= 1; // its length field
    expect(isSegment(packet, six, payload, 2)).toBe(false);
  });
});

describe('a running tunnel', () => {
  const tunnel = (apps: Record<string, object> = {}, more: Partial<RunningTunnel> = {}): RunningTunnel => ({
    name: 'tun0',
    queueDrops: 0,
    state: {
      name: 'tun0',
      index: 3,
      mtu: 1400,
      up: true,
      txQueueLength: 1000,
      gsoMaxSize: 65536,
      gsoMaxSegments: 65535,
      mac: undefined,
      addresses: [],
    },
    report: {
      time: 0,
      breaths: 0,
      links: [],
      formerDrops: {},
      memory: { smallSlots: 0, smallUsed: 0, largeSlots: 0, largeUsed: 0, livePackets: 0 },
      apps: Object.entries({
        tun: { interface: 'tun0', vnetHeader: true },
        udp: { gso: true, gro: true },
        ...apps,
      } as Record<string, object>).map(([app, report]) => ({
        app,
        packetsPerBreath: 0,
        drops: {},
        lingering: false,
        report: report as AppReport,
      })),
    },
    ...more,
  });
  const names = (running: RunningTunnel) =>
    describeTunnel(running)
      .filter(({ mark }) => mark !== 'ok')
      .map(({ name }) => name);

  it('that loses nothing is one line', () => {
    expect(describeTunnel(tunnel())).toMatchObject([
      { mark: 'ok', found: 'MTU 1400, queue 1000, nothing lost' },
    ]);
  });

  it('has a wrong MTU when the path carries less', () => {
    expect(names(tunnel({ tunnel: { datagram: 1400 } }))).toEqual([]);
    expect(names(tunnel({ tunnel: { datagram: 1399 } }))).toEqual(['MTU']);
    const tap = tunnel({ tunnel: { datagram: 1415 } });
    tap.state!.mac = '02:00:00:00:00:01';
    expect(names(tap)).toEqual(['MTU']);
    expect(names(tunnel({ tunnel: { datagram: 0 } }))).toEqual([]);
  });

  it('shows what the kernel dropped, short queues, and offloads that are off', () => {
    expect(names(tunnel({ udp: { gso: false, gro: true, kernelDrops: 7, txTooLong: 2 } }))).toEqual([
      'path',
      'socket drops',
      'gso',
    ]);
    const slow = tunnel({}, { queueDrops: 12 });
    slow.state!.txQueueLength = 50;
    expect(names(slow)).toEqual(['queue', 'queue drops']);
  });
});

describe('the doctor’s answer', () => {
  const ok: Finding = { group: 'a', name: 'good', mark: 'ok', found: 'yes' };
  const slow: Finding = {
    group: 'a',
    name: 'lame',
    mark: 'slow',
    found: 'half',
    cost: 'time',
    remedy: 'more',
  };
  const optional: Finding = { group: 'b', name: 'extra', mark: 'missing', found: 'no', remedy: 'get it' };
  const needed: Finding = { ...optional, name: 'heart', needed: true };

  it('is fit unless something that the tunnel needs is missing', () => {
    expect(isFit([ok, slow, optional])).toBe(true);
    expect(isFit([ok, needed])).toBe(false);
  });

  it('has a row for each, and cost and remedy for each that is not well', () => {
    const text = doctorText([ok, slow, needed]);
    expect(text).toMatch(/│ a +│ good +│ ok +│ yes +│/);
    expect(text).toContain('- lame: half (time)\n    more');
    expect(text).toContain('! heart: no\n    get it');
    expect(text).toContain('cannot run here');
    expect(doctorText([ok])).toContain('nothing holds it back');
  });

  it('fits into 80 columns', () => {
    const long = { ...slow, name: 'PACKET_VNET_HDR', group: 'this machine', found: 'x'.repeat(200) };
    const [top] = doctorText([long]).split('\n');
    expect(top!.length).toBeLessThanOrEqual(80);
  });
});

it('counters of the kernel are found by name', () => {
  const text = 'TcpExt: A IPReversePathFilter B\nTcpExt: 1 42 3\nIpExt: C\nIpExt: 9\n';
  expect(counterOf('', 'TcpExt', 'IPReversePathFilter', text)).toBe(42);
  expect(counterOf('', 'TcpExt', 'Missing', text)).toBe(0);
  expect(counterOf('', 'IpExt', 'C', text)).toBe(9);
});
