import { describe, expect, it } from 'vitest';
import { IcmpReplies } from '../../src/engine/icmp-replies.ts';
import { totalDrops } from '../../src/engine/index.ts';
import { Pool } from '../../src/engine/pool.ts';
import { SECOND } from '../../src/engine/units.ts';
import { udpPacket } from '../../src/packet/build.ts';
import * as ipv4 from '../../src/packet/ipv4.ts';
import { parsePrefix } from '../../src/packet/prefix.ts';
import { rawTunnel } from '../../src/tunnel/raw.ts';
import { tunnelServer } from '../../src/tunnel/server.ts';
import { virtualTunnel } from './virtual-path.ts';

const FRAME = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];

function long(dontFragment: boolean, size = 1472): Uint8Array {
  const bytes = udpPacket({
    from: '10.0.0.3:1000',
    to: '10.0.0.2:2000',
    payload: new Uint8Array(size - 28),
  });
  ipv4.setFragment(bytes, 0, dontFragment ? ipv4.DONT_FRAGMENT : 0);
  ipv4.fillChecksum(bytes, 0);
  return bytes;
}

describe('a tunnel whose outside stands still', () => {
  it('holds packets back that leave in fragments, and loses none', async () => {
    const t = await virtualTunnel();
    t.path.limit = 1300;
    t.runtime.advance('10s');
    const push = t.path.push.bind(t.path);
    t.path.push = () => {};
    for (let i = 0; i < 100; i++) t.client.send(long(false));
    t.runtime.advance(0);
    for (let i = 0; i < 900; i++) t.client.send(long(false));
    t.runtime.advance(0);
    t.path.push = push;
    await t.net.commit();
    t.runtime.advance(0);
    expect(totalDrops(t.net.report())['link-full'] ?? 0).toBe(0);
    expect(t.server.received).toHaveLength(2000);
    await t.net.close();
  });
});

describe('an Ethernet frame that is too long for the path', () => {
  const framed = (to: number[], packet: Uint8Array) =>
    Uint8Array.of(...to, 2, 0, 0, 0, 0, 1, 8, 0, ...packet);

  it('is answered when its destination is known, not when it goes to everybody', async () => {
    const t = await virtualTunnel({ client: { layer: 'L2' }, server: { mtu: 1200 } });
    // The memory port does not say where the IP header is; an interface does.
    const pull = t.server.pull.bind(t.server);
    t.server.pull = (ports, room) => {
      const { out } = ports.output;
      const before = out.count;
      const more = pull(ports, room);
      const handles = new Int32Array(out.count);
      out.peekBurst(handles, handles.length);
      for (let i = before; i < handles.length; i++) ports.pool.l3Offset[handles[i]] = 14;
      return more;
    };
    t.runtime.advance('10s');
    const unknown = framed([2, 0, 0, 0, 0, 9], long(true));
    t.server.send(unknown);
    t.server.send(framed([255, 255, 255, 255, 255, 255], long(true)));
    t.runtime.advance(0);
    expect(t.server.received).toHaveLength(0);
    expect(totalDrops(t.net.report())['too-big-for-path']).toBe(2);
    // The client's host speaks: now its place is known.
    t.client.send(Uint8Array.of(2, 0, 0, 0, 0, 1, ...FRAME.slice(0, 6), 0x88, 0xb5, ...new Uint8Array(46)));
    t.runtime.advance(0);
    t.server.received.length = 0;
    t.server.send(unknown);
    t.runtime.advance(0);
    expect(t.server.received.map((r) => [...r.bytes.subarray(0, 12)])).toEqual([
      [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9],
    ]);
    await t.net.close();
  });
});

describe('an IPv6 packet to a group that is too long', () => {
  it('is answered from an address of this end, and not at all without one', () => {
    const pool = new Pool({ smallSlots: 8, largeSlots: 2 });
    const bytes = udpPacket({ from: '[fd00::3]:1', to: '[ff05::1]:2', payload: new Uint8Array(1400) });
    const packet = pool.copyIn(bytes, 3);
    expect(new IcmpReplies([]).tooBig(pool, packet, 1300, 0)).toBe(-1);
    const own = new IcmpReplies([parsePrefix('fd00::2/64', { hostBits: true })]);
    const reply = own.tooBig(pool, packet, 1300, 0);
    expect(pool.copyOut(reply)[8 + 15]).toBe(2);
    pool.free(reply);
    pool.free(packet);
    expect(pool.live).toBe(0);
  });
});

describe('ICMP errors', () => {
  it('of one sender are limited to 200 a second in bursts of 50, and leave those of others alone', () => {
    const pool = new Pool({ smallSlots: 8, largeSlots: 2 });
    const replies = new IcmpReplies([parsePrefix('10.0.0.1/24', { hostBits: true })], 2);
    const packet = pool.copyIn(
      udpPacket({ from: '10.0.0.3:1', to: '10.0.9.9:2', payload: Uint8Array.of(1) }),
      3,
    );
    const answers = (sender: number, asked: number, now: number) => {
      let n = 0;
      for (let i = 0; i < asked; i++) {
        replies.sender = sender;
        const reply = replies.timeExceeded(pool, packet, now);
        if (reply < 0) continue;
        pool.free(reply);
        n++;
      }
      return n;
    };
    expect(answers(0, 80, 0)).toBe(50);
    expect(answers(1, 30, 0)).toBe(30);
    expect([replies.sent, replies.suppressed]).toEqual([80, 30]);
    expect(answers(0, 80, 0.1 * SECOND)).toBe(20);
    expect(answers(1, 80, 0.1 * SECOND)).toBe(40);
    pool.free(packet);
    expect(pool.live).toBe(0);
  });
});

describe('a tunnel that leaves the network', () => {
  it('gives back the outer addresses that it kept', async () => {
    const t = await virtualTunnel();
    const book = t.net.pool.addresses;
    t.runtime.advance('2s');
    const kept = book.pinnedRoom;
    for (let i = 0; i < 5; i++) {
      t.net.app('server', tunnelServer({ addresses: ['10.0.0.2/24', 'fd00::2/64'], maxClients: 10 + i }));
      await t.net.commit();
      t.runtime.advance('5s');
      expect(t.events.at(-1)!.event.type).toBe('pmtu');
    }
    expect(book.pinnedRoom).toBe(kept);
    await t.net.remove('client').remove('server').commit();
    t.runtime.advance('1s');
    await t.net.commit();
    expect(book.pinnedRoom).toBe(book.pinned);
    t.net.app('raw', rawTunnel({ peer: '192.0.2.2:1' }));
    await t.net
      .link('clientTun.out -> raw.inside')
      .link('raw.inside -> clientTun.in')
      .link('raw.outside -> path.a')
      .link('path.a -> raw.outside')
      .commit();
    expect(book.pinnedRoom).toBe(book.pinned - 1);
    await t.net.remove('raw').commit();
    expect(book.pinnedRoom).toBe(book.pinned);
    await t.net.close();
  });
});
