import { describe, expect, it } from 'vitest';
import { parseIperf } from '../../bench/harness/iperf.ts';
import { parseLastLine } from '../../bench/harness/json-program.ts';
import { parsePing } from '../../bench/harness/ping.ts';
import { missedSample } from '../../bench/suites/capture.ts';
import { collections } from '../../bench/suites/gc.ts';

describe('iperf3', () => {
  it('what counts is what the receiver got', () => {
    const end = {
      sum_sent: { bits_per_second: 9e9, bytes: 3e9 },
      sum_received: { bits_per_second: 8e9, bytes: 2e9 },
    };
    expect(parseIperf(JSON.stringify({ end }))).toEqual({ bitsPerSecond: 8e9, bytes: 2e9 });
  });

  it('an error is told in its own words', () => {
    expect(() => parseIperf('{"end":{},"error":"unable to connect to server"}')).toThrow('unable to connect');
    expect(() => parseIperf('usage\niperf3: parameter error')).toThrow('iperf3: iperf3: parameter error');
    expect(() => parseIperf('')).toThrow('no output');
  });

  it('nothing received is no figure', () => {
    expect(() => parseIperf('{"end":{"sum_received":{"bits_per_second":0,"bytes":0}}}')).toThrow('nothing');
  });
});

describe('ping', () => {
  const reply = (time: string) => `64 bytes from 10.66.0.2: icmp_seq=1 ttl=64 time=${time} ms\n`;

  it('gives mean, median and the 99th percentile in nanoseconds', () => {
    const text = [...Array.from({ length: 99 }, () => '0.100'), '1.10'].map(reply).join('');
    const { mean, median, p99, replies } = parsePing(text, 100);
    expect(mean).toBeCloseTo(110_000);
    expect([median, p99, replies]).toEqual([100_000, 100_000, 100]);
  });

  it('with too many replies lost there is no figure', () => {
    expect(() => parsePing(reply('0.1'), 2)).toThrow('1 of 2 were answered');
  });
});

describe('programs that write JSON lines', () => {
  it('the result is the last line', () => {
    expect(parseLastLine('{"ready":true}\n{"packets":3}\n')).toEqual({ packets: 3 });
  });

  it('one that was ready and wrote nothing more has no result', () => {
    expect(() => parseLastLine('{"ready":true}\n')).toThrow('without a result');
    expect(() => parseLastLine('')).toThrow('without a result');
  });
});

describe('what our own processes tell', () => {
  it('collections are the lines of --trace-gc, of all threads', () => {
    const text = `tun0 is up: 10.66.0.2/24, MTU 1420
[4711:0x6f2a1b0]     1204 ms: Scavenge 12.1 (16.0) -> 11.2 (17.0) MB, 0.5 / 0.0 ms  (average mu = 1.000) allocation failure;
[4711:0x7f1c0c0]     2204 ms: Mark-Compact 12.1 (16.0) -> 11.2 (17.0) MB, 2.5 / 0.0 ms
`;
    expect(collections(text)).toBe(2);
    expect(collections('tun0 is up\n')).toBe(0);
    // V8 gives back what starting up took; an idle tunnel does so too.
    expect(
      collections('[4711:0x5f3]    24678 ms: Mark-Compact (reduce) 12.4 (29.9) -> 11.9 (13.6) MB\n'),
    ).toBe(0);
  });

  it('what a capture missed stands in the report', () => {
    const report = (capture: object) =>
      `{"event":"up"}\n{"event":"report","captures":[${JSON.stringify(capture)}]}\n`;
    expect(missedSample(report({ packets: 9, missed: 4, failed: false })).value).toBe(4);
    expect(() => missedSample(report({ packets: 0, missed: 0, failed: false }))).toThrow('not be written');
    expect(() => missedSample('{"event":"report","captures":[]}\n')).toThrow('no capture');
  });
});
