/** What ICMP says about a connection's packets: soft and hard errors, and the path's MTU (RFC 1122, 1191, 5927, 8201). */
import { describe, expect, it } from 'vitest';
import { tooBig, UnreachableReason, unreachable } from '../../../src/packet/icmp-error.ts';
import { put32 } from '../../../src/packet/word.ts';
import { script } from './scripted.ts';

const { Port, Host, NoRoute, Prohibited } = UnreachableReason;
const SECOND = 1000;
/** Of a quoted packet. */
const SEQUENCE = 24;
const MSS = 1448;

/** The same packet, had it carried another sequence number. */
function elsewhere(bytes: Uint8Array, by: number): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  put32(copy, SEQUENCE, (view.getUint32(SEQUENCE) + by) >>> 0);
  return copy;
}

describe('an ICMP error about a SYN', () => {
  it.each([
    ['port', Port, 'ECONNREFUSED'],
    ['prohibited', Prohibited, 'EHOSTUNREACH'],
  ])('ends the opening at once: %s', async (_, reason, error) => {
    await using peer = await script({ open: false });
    const [syn] = peer.said();
    peer.icmp(unreachable, reason, elsewhere(syn!.bytes, 1));
    peer.icmp(unreachable, reason, elsewhere(syn!.bytes, -1));
    expect(peer.end.events).toEqual([]);
    peer.icmp(unreachable, reason, syn!.bytes);
    expect(peer.end.events).toEqual([`closed ${error}`]);
  });

  it('that may pass is only what the timeout is told as', async () => {
    await using peer = await script({ open: false, tcp: { synRetries: 1 } });
    const [syn] = peer.said();
    peer.icmp(unreachable, Host, syn!.bytes);
    peer.advance(1.5 * SECOND);
    expect(peer.said()).toHaveLength(1);
    expect(peer.end.events).toEqual([]);
    peer.advance(2 * SECOND);
    expect(peer.end.events).toEqual(['closed EHOSTUNREACH']);
  });
});

describe('an ICMP error about an established connection', () => {
  for (const [name, reason, error] of [
    ['no route', NoRoute, 'EHOSTUNREACH'],
    ['host', Host, 'EHOSTUNREACH'],
    ['port', Port, 'ECONNREFUSED'],
    ['prohibited', Prohibited, 'EHOSTUNREACH'],
  ] as const) {
    it(`does not end it: ${name}; a timeout is told as that`, async () => {
      await using peer = await script({ tcp: { userTimeout: '3s' } });
      peer.c.write(new Uint8Array(MSS));
      peer.advance(0);
      const [data] = peer.said();
      peer.icmp(unreachable, reason, data!.bytes);
      expect(peer.end.events).toEqual(['connected']);
      expect(peer.c.softError).toBe(error);
      peer.advance(4 * SECOND);
      expect(peer.end.events).toEqual(['connected', `closed ${error}`]);
    });
  }

  it('is believed only when it quotes what is under way', async () => {
    await using peer = await script();
    peer.c.write(new Uint8Array(4 * MSS));
    peer.advance(0);
    const data = peer.said().map(({ bytes }) => bytes);
    peer.advance(100);
    peer.say({ ack: 1 + 2 * MSS });
    // Acknowledged already, not sent yet, and anything else.
    for (const bytes of [data[0]!, data[1]!, elsewhere(data[3]!, MSS), elsewhere(data[3]!, 1 << 30)]) {
      peer.icmp(unreachable, Host, bytes);
      peer.icmp(tooBig, 600, bytes);
    }
    expect(peer.c.softError).toBeUndefined();
    expect(peer.c.figures().mss).toBe(MSS);
    peer.icmp(unreachable, Host, data[2]!);
    expect(peer.c.softError).toBe('EHOSTUNREACH');
  });
});

describe('a path that takes less', () => {
  it('has what was too long again at once, shorter, and keeps its window', async () => {
    await using peer = await script();
    peer.c.write(new Uint8Array(100 * MSS));
    peer.advance(0);
    const data = peer.said();
    expect(data.map(({ length }) => length)).toEqual(Array(10).fill(MSS));
    const { cwnd } = peer.c.figures();
    peer.advance(30);
    peer.icmp(tooBig, 1000, data[0]!.bytes);
    const again = peer.said();
    // 1000 less 20 of IP, 20 of TCP and 12 of time stamps.
    expect(again[0]).toMatchObject({ at: 130, seq: 1, length: 948 });
    expect(again.every(({ length }) => length <= 948)).toBe(true);
    // All that was under way, and nothing new.
    expect(again.reduce((sum, { length }) => sum + length, 0)).toBe(10 * MSS);
    // A second error about the same flight, such as each of its packets causes, changes nothing.
    peer.icmp(tooBig, 1000, data[3]!.bytes);
    expect(peer.said()).toEqual([]);
    expect(peer.c.figures()).toMatchObject({ mss: 948, recoveries: 0, timeouts: 0, cwnd });
    // Acknowledged in two halves: it was no congestion, and the window is not reduced.
    peer.advance(100);
    peer.say({ ack: 1 + 5 * MSS });
    peer.advance(1);
    peer.say({ ack: 1 + 10 * MSS });
    expect(peer.c.figures()).toMatchObject({ recoveries: 0, timeouts: 0 });
    expect(peer.c.figures().cwnd).toBeGreaterThanOrEqual(cwnd);
    const more = peer.said();
    expect(more.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThanOrEqual(9 * MSS);
    expect(more.every(({ length }) => length <= 948)).toBe(true);
  });

  it('may take less still, and is tried again after ten minutes', async () => {
    await using peer = await script({ tcp: { noDelay: true } });
    const flight = () => {
      peer.c.write(new Uint8Array(3 * MSS));
      peer.advance(0);
      return peer.said();
    };
    let acked = 1;
    const take = (bytes: number) => {
      peer.advance(50);
      acked += bytes;
      peer.say({ ack: acked });
      peer.said();
    };
    peer.icmp(tooBig, 1000, flight()[0]!.bytes);
    const [second] = peer.said();
    expect(second!.length).toBe(948);
    peer.icmp(tooBig, 800, second!.bytes);
    expect(peer.said()[0]!.length).toBe(748);
    take(3 * MSS);
    peer.advance(599 * SECOND);
    expect(flight()[0]!.length).toBe(748);
    take(3 * MSS);
    peer.advance(2 * SECOND);
    expect(flight()[0]!.length).toBe(MSS);
  });

  it.each([
    ['more than it is', 1500],
    ['much more', 9000],
  ])('is not believed when it says %s', async (_, mtu) => {
    await using peer = await script();
    peer.c.write(new Uint8Array(5 * MSS));
    peer.advance(0);
    peer.icmp(tooBig, mtu, peer.said()[0]!.bytes);
    expect(peer.said()).toEqual([]);
    expect(peer.c.figures().mss).toBe(MSS);
  });

  it.each([
    ['1 byte', 1],
    ['the least of RFC 791', 68],
  ])('goes no lower than 552 when it says %s', async (_, mtu) => {
    await using peer = await script();
    peer.c.write(new Uint8Array(5 * MSS));
    peer.advance(0);
    peer.icmp(tooBig, mtu, peer.said()[0]!.bytes);
    expect(peer.c.figures().mss).toBe(552 - 52);
    expect(peer.said().every(({ length }) => length === 500 || length < 500)).toBe(true);
  });

  it('without a value is the next plateau below (RFC 1191, 5)', async () => {
    await using peer = await script();
    peer.c.write(new Uint8Array(5 * MSS));
    peer.advance(0);
    const [data] = peer.said();
    peer.icmp(tooBig, 0, data!.bytes);
    expect(peer.c.figures().mss).toBe(1492 - 52);
  });
});
