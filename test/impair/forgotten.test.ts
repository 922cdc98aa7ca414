import { describe, expect, it } from 'vitest';
import { udpPacket } from '../../src/packet/build.ts';
import { impairedPair } from '../../src/testing/impaired-pair.ts';
import { Drive, datagram } from './drive.ts';

const MS = 1_000_000;

/** Two of three packets of a row are lost. */
const ROW = { kind: 'loss', model: 'pattern', pattern: 'x', maxRun: 2 } as const;

describe('a flow that is forgotten while a packet of it is held', () => {
  const left = (stages: ConstructorParameters<typeof Drive>[0], ports: number[]) => {
    const drive = new Drive(stages, { flows: 2 });
    for (const [i, port] of ports.entries()) drive.send(i * MS, drive.packet(datagram(port)));
    drive.advance(1e9);
    return drive.left.map(({ bytes, number, at }) => [bytes[21], number, at / MS]);
  };

  it('leaves what stages remember of the flow in its place alone', () => {
    const stages = [{ kind: 'delay', time: '10ms' } as const, ROW];
    const alone = left(stages, [2, 2, 2, 2, 2, 2]).map(([port, number]) => [port, number]);
    const beside = left(stages, [1, 2, 2, 2, 2, 2, 2]).map(([port, number]) => [port, number]);
    expect(alone).toEqual([
      [2, 2],
      [2, 5],
    ]);
    expect(beside).toEqual(alone);
  });

  it('is not replayed as the flow in its place', () => {
    const text = [
      '{"event":"log","version":1,"direction":"up","seed":1}',
      '{"event":"flow","flow":"up:1","is":"udp 10.0.0.1:2 > 10.0.0.2:2000"}',
      '{"event":"in","at":0,"flow":"up:1","n":1,"bytes":60}',
      '{"event":"drop","at":0,"flow":"up:1","n":1,"stage":"x","why":"loss"}',
    ].join('\n');
    const stages = [
      { kind: 'delay', time: '10ms' },
      { kind: 'replay', text },
    ] as const;
    expect(left([...stages], [1, 2, 2])).toEqual([
      [1, 0, 10],
      [2, 1, 12],
    ]);
  });
});

describe('a flow that gets another rule while a packet of it is held', () => {
  const packet = (n: number) =>
    udpPacket({ from: '10.0.0.1:7', to: '10.0.0.2:53', payload: Uint8Array.of(n) });

  it('has nothing of the old one in the memory of the new', async () => {
    const up = ['delay 10ms', { ...ROW }];
    await using pair = await impairedPair({ up });
    const { a, b, runtime } = pair;
    a.send(packet(1));
    runtime.advance('5ms');
    const rules = [{ label: 'x', match: '*', up: ['delay 1ms', { ...ROW }] }];
    await pair.change({ up, rules });
    a.send(packet(2));
    runtime.advance('9ms');
    for (const n of [3, 4, 5, 6]) a.send(packet(n));
    runtime.advance('1s');
    expect(b.received.map(({ bytes }) => bytes.at(-1))).toEqual([4]);
  });
});
