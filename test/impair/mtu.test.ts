import { describe, expect, it } from 'vitest';
import { ImpairDrop } from '../../src/impair/reasons.ts';
import { parseStages } from '../../src/impair/spec/text.ts';
import { tcpPacket, udpPacket } from '../../src/packet/build.ts';
import * as icmp from '../../src/packet/icmp.ts';
import * as icmpv6 from '../../src/packet/icmpv6.ts';
import { Verdict, verifyTransport } from '../../src/packet/transport.ts';
import { impairedPair } from '../../src/testing/impaired-pair.ts';
import { Drive, datagram, type StageInput } from './drive.ts';

const drive = (text: string) => new Drive(parseStages(text) as StageInput[]);

it('the longest packet that passes is exactly as long as the MTU', () => {
  const d = drive('mtu 1400');
  for (const payload of [1371, 1372, 1373]) d.send(payload, d.packet(datagram(1, payload)));
  expect(d.left.map(({ bytes }) => bytes.length)).toEqual([1399, 1400]);
  expect(d.dropped(ImpairDrop.Mtu)).toBe(1);
});

it('a superframe passes whole when its segments fit, whatever its own length', () => {
  const d = drive('mtu 140');
  d.send(0, d.superframe({ segments: 40, size: 100 }));
  expect(d.left.map(({ segments }) => segments)).toEqual([40]);
});

it('of a superframe of too long segments the last passes alone if it is short enough', () => {
  const d = drive('mtu 139');
  d.send(0, d.superframe({ segments: 40, size: 100 }));
  expect([d.left.length, d.dropped(ImpairDrop.Mtu)]).toEqual([0, 40]);
  const packet = d.superframe({ segments: 40, size: 100 });
  d.pool.length[packet] -= 1;
  d.pool.slab[d.pool.offset[packet] + 3] -= 1;
  d.send(1, packet);
  expect(d.left.map(({ number, segments }) => [number, segments])).toEqual([[79, 1]]);
  expect(d.left[0].bytes).toHaveLength(139);
  expect(verifyTransport(d.left[0].bytes, 0)).toBe(Verdict.Right);
  expect([d.dropped(ImpairDrop.Mtu), d.close()]).toEqual([79, 0]);
});

describe('an MTU with answers', () => {
  const v4 = { from: '10.0.0.1:7', to: '10.0.0.2:9', payload: 1400 };
  const v6 = { from: '[fd00::1]:7', to: '[fd00::2]:9', payload: 1400 };

  /** What comes back to the sender of these packets, and how many arrive. */
  async function answers(...packets: Uint8Array[]) {
    const { net, a, b, runtime } = await impairedPair({ up: 'mtu 1300 answer', down: 'delay 10ms' });
    for (const packet of packets) a.send(packet);
    runtime.advance('1s');
    await net.close();
    return { back: a.received, arrived: b.received.length };
  }

  it('tells senders how long a packet may be, the way back through the other direction', async () => {
    const too = [udpPacket({ ...v4, dontFragment: true }), udpPacket(v6)];
    const { back, arrived } = await answers(...too);
    expect(arrived).toBe(0);
    expect(back.map(({ time }) => time)).toEqual([10_000_000, 10_000_000]);
    const [four, six] = back.map(({ bytes }) => bytes);
    expect([four[20], four[21], (four[26] << 8) | four[27]]).toEqual([
      icmp.Type.Unreachable,
      icmp.Unreachable.FragmentationNeeded,
      1300,
    ]);
    expect(Array.from(four.subarray(12, 20))).toEqual([10, 0, 0, 2, 10, 0, 0, 1]);
    expect(four.subarray(28)).toEqual(too[0].subarray(0, four.length - 28));
    expect([six[40], (six[46] << 8) | six[47]]).toEqual([icmpv6.Type.PacketTooBig, 1300]);
    for (const bytes of [four, six]) expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
  });

  it('says nothing of packets that may be fragmented', async () => {
    const { back, arrived } = await answers(udpPacket(v4), tcpPacket({ ...v4, payload: 10 }));
    expect([back.length, arrived]).toEqual([0, 1]);
  });

  it('does so at most 50 times at once, and 200 times a second', async () => {
    const { back } = await answers(...Array.from({ length: 100 }, () => udpPacket(v6)));
    expect(back).toHaveLength(50);
  });

  it('quotes a wire packet of a superframe, and says it once', () => {
    const d = drive('mtu 1000 answer');
    const packet = d.superframe({ segments: 4, size: 1200, v6: true });
    d.send(0, packet);
    expect([d.dropped(ImpairDrop.Mtu), d.answers.count]).toEqual([4, 1]);
    const bytes = d.pool.copyOut(d.answers.packets[0]);
    d.pool.free(d.answers.packets[0]);
    expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
    // IPv6 header, ICMPv6 header, and of the packet that is quoted its payload length: a TCP header and 1200 bytes.
    expect((bytes[48 + 4] << 8) | bytes[48 + 5]).toBe(1220);
    expect(d.close()).toBe(0);
  });
});
