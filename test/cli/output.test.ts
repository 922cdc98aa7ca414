import { describe, expect, it } from 'vitest';
import { formatBitRate, formatBytes, formatDuration, grouped } from '../../src/cli/format.ts';
import { JsonOutput, peerLine, ratesOf, reportText, TextOutput, upLine } from '../../src/cli/output.ts';
import { TunconnectorError } from '../../src/errors.ts';
import type { PeerChange } from '../../src/tunnel/connector/peers.ts';
import type { EndReport } from '../../src/tunnel/connector/report.ts';

const memory = { smallSlots: 0, smallUsed: 0, largeSlots: 0, largeUsed: 0, livePackets: 0 };
const end: EndReport = {
  side: 'server',
  interface: 'tun0',
  addresses: ['10.0.0.2/24'],
  mtu: 1472,
  outer: '[::]:55555',
  connected: true,
  duration: 2e9,
  sent: { packets: 1000, bytes: 250_000 },
  received: { packets: 20_000, bytes: 25_000_000 },
  drops: { 'no-owner': 3, 'udp-too-long': 12_000 },
  peers: [{ outer: '192.168.6.8:4000', addresses: ['10.0.0.3'], networks: [], silent: true }],
  network: { time: 0, breaths: 0, links: [], apps: [], memory, formerDrops: {} },
};
const change: PeerChange = {
  side: 'server',
  interface: 'tun0',
  change: 'came',
  outer: '192.168.6.8:4000',
  addresses: ['10.0.0.3'],
  networks: [],
  reason: '',
  text: '',
};

function screen(isTTY: boolean) {
  const shown = { text: '', isTTY, columns: 80, write: (text: string) => (shown.text += text) };
  return shown;
}

describe('lines for people', () => {
  it('say where an end is up', () => {
    expect(upLine(end, { format: 'udp' })).toBe(
      'tun0 is up: 10.0.0.2/24, MTU 1472, listening on UDP port 55555',
    );
    const client = { ...end, side: 'client' as const, outer: '192.168.6.9:55555' };
    expect(upLine(client, { format: 'stream' })).toContain('connected to 192.168.6.9:55555');
    expect(upLine({ ...end, outer: '10.1.1.1:5' }, { format: 'stream' })).toContain(
      'listening on TCP 10.1.1.1:5',
    );
    expect(upLine(end, { format: 'udp', inside: 77 })).toContain(
      'nsenter --preserve-credentials -U -n -t 77',
    );
  });

  it.each<[Partial<PeerChange>, string]>([
    [{}, 'tun0: 10.0.0.3 came from 192.168.6.8:4000'],
    [{ networks: ['10.7.0.0/16'] }, 'tun0: 10.0.0.3 came from 192.168.6.8:4000, with 10.7.0.0/16 behind it'],
    [{ addresses: [] }, 'tun0: 192.168.6.8:4000 came'],
    [{ change: 'gone', reason: 'goodbye' }, 'tun0: 10.0.0.3 went (goodbye)'],
    [{ change: 'moved' }, 'tun0: 10.0.0.3 moved to 192.168.6.8:4000'],
    [
      { change: 'refused', reason: 'taken', text: 'its holder answers' },
      'tun0: refused 192.168.6.8:4000 as 10.0.0.3: its holder answers',
    ],
    [
      { side: 'client', change: 'silent', reason: 'goodbye' },
      'tun0: 192.168.6.8:4000 is silent (goodbye); still trying',
    ],
    [
      { side: 'client', change: 'silent', reason: 'silent' },
      'tun0: 192.168.6.8:4000 is silent; still trying',
    ],
    [{ side: 'client', change: 'waiting' }, 'tun0: no answer from 192.168.6.8:4000; still trying'],
    [{ side: 'client', change: 'back' }, 'tun0: 192.168.6.8:4000 is back'],
  ])('%j is told as a sentence', (part, line) => {
    expect(peerLine({ ...change, ...part })).toBe(line);
  });

  it('end with a table of packets, bytes and drops, the most first', () => {
    const text = reportText(end, 'udp');
    expect(text).toContain('tun0: server on UDP port 55555, up for 2.0 s');
    expect(text).toMatch(/into the tunnel\s+│\s+1 000 │\s+250 kB/);
    expect(text).toMatch(/out of the tunnel\s+│\s+20 000 │\s+25.0 MB/);
    expect(text.indexOf('udp-too-long')).toBeLessThan(text.indexOf('no-owner'));
    expect(text).toContain('peers at the end: 10.0.0.3 from 192.168.6.8:4000, silent');
  });

  it('say of a client whose server does not answer that it is not connected', () => {
    const text = reportText({ ...end, side: 'client', connected: false, outer: '192.168.6.9:55555' }, 'udp');
    expect(text.split('\n')[0]).toBe(
      'tun0: client of 192.168.6.9:55555, up for 2.0 s, not connected at the end',
    );
  });

  it('say of a capture when it is not complete', () => {
    const shown = screen(false);
    new TextOutput(shown).report([], [{ file: 'a', packets: 70, missed: 2, failed: true }], 'udp');
    expect(shown.text).toBe('a: 70 packets, 2 missed, and no more: it could not be written\n');
  });
});

describe('rates', () => {
  it('are of the time since the last look', () => {
    const later = { ...end, duration: 4e9, sent: { packets: 3000, bytes: 500_000 } };
    expect(ratesOf(later, end)).toEqual({
      seconds: 2,
      sent: { packetsPerSecond: 1000, bitsPerSecond: 1_000_000 },
      received: { packetsPerSecond: 0, bitsPerSecond: 0 },
      dropped: 0,
    });
  });

  it('are one refreshed line on a terminal that other lines push away, never wider than it', () => {
    const shown = screen(true);
    const output = new TextOutput(shown);
    output.stats([end]);
    output.stats([end]);
    output.peer(change);
    const [rates, again, line] = shown.text.split('\r').slice(1);
    expect(rates!.length).toBeLessThanOrEqual(77 + '\x1b[K'.length);
    expect(rates).toMatch(/^tun0 {2}out +1\.0 Mbit\/s {2}in +100 Mbit\/s {2}dropped/);
    expect(again!.endsWith('\x1b[K')).toBe(true);
    expect(line).toBe('\x1b[Ktun0: 10.0.0.3 came from 192.168.6.8:4000\n');
  });

  it('of both ends fit into 80 columns, with the ^C that a terminal adds', () => {
    const shown = screen(true);
    new TextOutput(shown).stats([
      { ...end, interface: 'tun1', drops: {} },
      { ...end, drops: {}, sent: { packets: 1, bytes: 437_500_000 } },
    ]);
    expect(shown.text).toBe('\rtun1 out 1.0 Mbit/s in 100 Mbit/s | tun0 out 1.8 Gbit/s in 100 Mbit/s\x1b[K');
  });

  it('are plain lines elsewhere', () => {
    const shown = screen(false);
    new TextOutput(shown).stats([end]);
    expect(shown.text).toMatch(/^tun0 {2}out .*peers 1\n$/);
    expect(shown.text).not.toContain('\r');
  });
});

describe('JSON', () => {
  it('is one object per line with time and event', () => {
    const shown = screen(true);
    const output = new JsonOutput(shown);
    output.up(end, { format: 'udp' });
    output.peer(change);
    output.mtu({ interface: 'tun0', mtu: 1400 });
    output.stats([end]);
    output.report([end], [{ file: 'a', packets: 1, missed: 0, failed: false }], 'udp');
    output.error(new TunconnectorError('ERR_REFUSED', 'no'));
    const events = shown.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ event }) => event)).toEqual(['up', 'peer', 'mtu', 'stats', 'report', 'error']);
    for (const { time } of events) expect(Number.isNaN(Date.parse(String(time)))).toBe(false);
    expect(events[5]).toMatchObject({ code: 'ERR_REFUSED', message: 'no' });
  });
});

describe('numbers', () => {
  it('are short', () => {
    expect([0, 999, 1000, 99_949, 99_951, 12_345_678].map(formatBytes)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '99.9 kB',
      '100 kB',
      '12.3 MB',
    ]);
    expect(formatBitRate(14_400_000_000)).toBe('14.4 Gbit/s');
    expect(grouped(1234567)).toBe('1 234 567');
    expect([0.44e9, 12e9, 185e9, 7620e9].map(formatDuration)).toEqual([
      '0.4 s',
      '12 s',
      '3 min 5 s',
      '2 h 7 min',
    ]);
  });
});
