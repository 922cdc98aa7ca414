import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { liveRuntime } from '../../../src/engine/live-runtime.ts';
import { Network } from '../../../src/engine/network.ts';
import { type Impair, impair } from '../../../src/impair/impair.ts';
import { VerdictLog } from '../../../src/impair/log/verdict-log.ts';
import { parseStages } from '../../../src/impair/spec/text.ts';
import { udpPacket } from '../../../src/packet/build.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';
import { Drive, datagram, type StageInput } from '../drive.ts';
import { events, hashOf, logOf, traffic } from './recorded.ts';

const ALL = [
  'loss gemodel 3% 30%',
  'duplicate 3% corrupt 2% bits 3',
  'delay 5ms 3ms 25% distribution normal',
  'police 8mbit burst 10kb action mark',
  'rate 7mbit queue fq_codel ecn limit 20',
  'loss 2% scope link',
].join(' ');

it('says of each packet when it came, and when it left or who dropped it and why', async () => {
  const packet = (n: number) => ({
    at: n * 1000,
    bytes: udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 100 }),
  });
  const log = await logOf({ up: 'loss list 2 delay 5ms', seed: 7 }, [packet(1), packet(2), packet(3)]);
  expect(log.trimEnd().split('\n').sort()).toEqual(
    [
      '{"event":"log","version":1,"direction":"up","seed":7}',
      '{"event":"flow","flow":"up:1","is":"udp 10.0.0.1:1000 > 10.0.0.2:53"}',
      '{"event":"in","at":1000,"flow":"up:1","n":1,"bytes":128}',
      '{"event":"in","at":2000,"flow":"up:1","n":2,"bytes":128}',
      '{"event":"in","at":3000,"flow":"up:1","n":3,"bytes":128}',
      '{"event":"drop","at":2000,"flow":"up:1","n":2,"stage":"up/default/loss","why":"loss"}',
      '{"event":"out","at":5001000,"flow":"up:1","n":1}',
      '{"event":"out","at":5003000,"flow":"up:1","n":3}',
    ].sort(),
  );
});

it('says which bits were flipped, who was marked, and what a copy is called', async () => {
  const log = await logOf({ up: ALL, seed: 3 }, traffic(400));
  const found = (name: string) => events(log).filter(({ event }) => event === name);
  const corrupt = found('corrupt') as unknown as { bits: number[]; stage: string }[];
  expect(corrupt.length).toBeGreaterThan(0);
  expect(corrupt.every(({ bits, stage }) => bits.length === 3 && stage === 'up/default/corrupt')).toBe(true);
  expect(found('mark').length).toBeGreaterThan(0);
  const copies = found('copy') as unknown as { as: string; n: number; flow: string }[];
  expect(copies.length).toBeGreaterThan(0);
  const ends = events(log).filter(({ event, copy }) => copy !== undefined && /out|drop/.test(event));
  expect(ends.map(({ flow, n, copy }) => `${flow} ${n} ${copy}`).sort()).toEqual(
    copies.map(({ flow, n, as }) => `${flow} ${n} ${as}`).sort(),
  );
});

it('has exactly one end for each wire packet that came', async () => {
  const log = await logOf({ up: ALL, seed: 3 }, traffic(400));
  const name = ({ flow, n }: { flow: string; n: number }) => `${flow} ${n}`;
  const of = (pattern: RegExp) =>
    events(log)
      .filter(({ event, copy }) => pattern.test(event) && copy === undefined)
      .map(name)
      .sort();
  expect(of(/out|drop/)).toEqual(of(/in/));
});

describe('the same arrivals', () => {
  it('have the same verdicts a hundred times, and others for another seed', async () => {
    const arrivals = traffic(150);
    const first = hashOf(await logOf({ up: ALL, seed: 11 }, arrivals));
    for (let i = 1; i < 100; i++) expect(hashOf(await logOf({ up: ALL, seed: 11 }, arrivals))).toBe(first);
    expect(hashOf(await logOf({ up: ALL, seed: 12 }, arrivals))).not.toBe(first);
  });

  it('have the same verdicts live and in virtual time', async () => {
    const network = new Network(liveRuntime(), { memory: 128 << 20 });
    const a = new MemoryPort();
    network.app('a', a).app('b', new MemoryPort());
    network
      .app('up', impair({ seed: 11, stages: ALL }))
      .link('a.out -> up.in')
      .link('up.out -> b.in');
    await network.start();
    let log = '';
    const up = network.get<Impair>('up');
    up.record((lines) => {
      log += lines;
      return true;
    });
    const packets = traffic(300).map(({ bytes }) => bytes);
    for (let i = 0; i < packets.length; i += 6) {
      for (const packet of packets.slice(i, i + 6)) a.send(packet);
      await sleep(3);
    }
    while (up.held() > 0) await sleep(5);
    up.record(undefined);
    await network.close();

    const came = events(log).filter(({ event }) => event === 'in');
    expect(came).toHaveLength(packets.length);
    expect(events(log).filter(({ event }) => event === 'drop').length).toBeGreaterThan(5);
    const arrivals = came.map(({ at }, i) => ({ at, bytes: packets[i] }));
    expect(hashOf(await logOf({ up: ALL, seed: 11 }, arrivals))).toBe(hashOf(log));
  });
});

/** A drive that keeps a log; while `open` is false nobody takes it. */
function logged(text: string) {
  const drive = new Drive(parseStages(text) as StageInput[]);
  const sink = { open: true, text: '' };
  const log = new VerdictLog(drive.pool, drive.marks, drive.flows, 'up', 1, (lines) => {
    if (sink.open) sink.text += lines;
    return sink.open;
  });
  drive.marks.log = log;
  return { drive, sink, log };
}

it('a superframe is told as its wire packets, whatever becomes of each', () => {
  const told = (whole: boolean) => {
    const { drive, sink, log } = logged('loss list 3-4 delay 1ms rate 80mbit queue droptail limit 5');
    const segments = whole ? 12 : 1;
    const packets = Array.from({ length: 12 / segments }, () => drive.superframe({ segments, size: 500 }));
    drive.send(0, ...packets);
    drive.advance(1e9);
    log.flush();
    expect(drive.close()).toBe(0);
    return events(sink.text)
      .map((event) => JSON.stringify(event))
      .sort();
  };
  const found = told(true);
  expect(found).toHaveLength(24);
  expect(found.filter((line) => line.includes('"drop"'))).toHaveLength(6);
  expect(found.filter((line) => line.includes('"bytes":540'))).toHaveLength(12);
  expect(found).toEqual(told(false));
});

it('lines that nobody takes are counted in the log, which names its flows again', () => {
  const { drive, sink, log } = logged('loss 0%');
  const come = (open: boolean) => {
    sink.open = open;
    drive.send(drive.now + 1, drive.packet());
    log.flush();
  };
  come(true);
  come(false);
  come(false);
  come(true);
  const lines = sink.text.trimEnd().split('\n');
  expect(lines.slice(-4)).toEqual([
    // Two lines of the second packet, and of the third, which had to be named, three.
    '{"event":"lost","direction":"up","lines":5}',
    '{"event":"flow","flow":"up:3","is":"udp 10.0.0.1:1000 > 10.0.0.2:2000"}',
    '{"event":"in","at":4,"flow":"up:3","n":4,"bytes":128}',
    '{"event":"out","at":4,"flow":"up:3","n":4}',
  ]);
});

it('a flow that was forgotten and comes back is another one', () => {
  const drive = new Drive(parseStages('delay 1ms') as StageInput[], { flows: 3 });
  let text = '';
  const log = new VerdictLog(drive.pool, drive.marks, drive.flows, 'up', 1, (lines) => {
    text += lines;
    return true;
  });
  drive.marks.log = log;
  for (const port of [1, 2, 3, 1]) drive.send(drive.now + 1, drive.packet(datagram(port)));
  drive.advance(1e9);
  log.flush();
  expect(text.match(/"is":"udp [0-9.]*:\d/g)?.map((found) => found.at(-1))).toEqual(['1', '2', '3', '1']);
  // Those that were still on their way kept their names.
  expect(text.match(/"out",.*/g)?.map((found) => /up:\d/.exec(found)?.[0])).toEqual([
    'up:1',
    'up:2',
    'up:3',
    'up:4',
  ]);
});
