import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CANNOT_FRAGMENT,
  emitFragment,
  fragmentCount,
  ipv4,
  NEEDS_FRAGMENTATION,
  udpPacket,
} from '../../src/packet/index.ts';

function fragments(packet: Uint8Array, mtu: number): Uint8Array[] {
  const count = fragmentCount(packet, 0, packet.length, mtu);
  return Array.from({ length: count }, (_, i) => {
    const into = new Uint8Array(mtu + 20).fill(0xee);
    const length = emitFragment(packet, 0, packet.length, mtu, i, into, 9);
    expect(into.subarray(0, 9).every((byte) => byte === 0xee)).toBe(true);
    expect(into.subarray(9 + length).every((byte) => byte === 0xee)).toBe(true);
    return into.slice(9, 9 + length);
  });
}

/** Puts the payloads back where their offsets say. */
function reassemble(pieces: Uint8Array[]): { payload: Uint8Array; more: boolean } {
  const values = pieces.map((piece) => ({ header: ipv4.parse(piece)!, piece }));
  const end = Math.max(...values.map(({ header }) => header.fragmentOffset + header.payloadLength));
  const payload = new Uint8Array(end);
  let filled = 0;
  for (const { header, piece } of values) {
    payload.set(piece.subarray(ipv4.headerLength(piece, 0)), header.fragmentOffset);
    filled += header.payloadLength;
  }
  expect(filled).toBe(end - Math.min(...values.map(({ header }) => header.fragmentOffset)));
  return { payload, more: values.at(-1)!.header.moreFragments };
}

// Copied: loose source route (131) and router alert (148). Not copied: record route (7), timestamp (68).
const OPTIONS = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 1, 2, 3, 4, 1, 148, 4, 0, 0, 0);

describe('IPv4 fragmentation', () => {
  it('cuts 4000 bytes for an MTU of 1500 as RFC 791 does', () => {
    const packet = udpPacket({ to: '10.0.0.2:53', payload: 3972, identification: 0x1234 });
    const pieces = fragments(packet, 1500).map((piece) => ipv4.parse(piece)!);
    expect(pieces.map((each) => [each.fragmentOffset, each.payloadLength, each.moreFragments])).toEqual([
      [0, 1480, true],
      [1480, 1480, true],
      [2960, 1020, false],
    ]);
    expect(pieces.every((each) => each.identification === 0x1234)).toBe(true);
  });

  it('loses and adds nothing, whatever the MTU', () => {
    fc.assert(
      fc.property(fc.nat(3000), fc.integer({ min: 68, max: 1600 }), fc.boolean(), (size, mtu, options) => {
        const packet = udpPacket({
          to: '10.0.0.2:53',
          payload: size,
          ipOptions: options ? OPTIONS : undefined,
        });
        const count = fragmentCount(packet, 0, packet.length, mtu);
        if (packet.length <= mtu) {
          expect(count).toBe(1);
          return;
        }
        const pieces = fragments(packet, mtu);
        expect(pieces.length).toBeGreaterThan(1);
        for (const piece of pieces) {
          expect(piece.length).toBeLessThanOrEqual(mtu);
          expect(ipv4.check(piece, 0, piece.length)).toBe(0);
          expect(ipv4.checksumOk(piece, 0)).toBe(true);
        }
        // No piece but the last has room for eight bytes more.
        for (const piece of pieces.slice(0, -1)) expect(mtu - piece.length).toBeLessThan(8);
        const { payload, more } = reassemble(pieces);
        expect(payload).toEqual(packet.slice(ipv4.headerLength(packet, 0)));
        expect(more).toBe(false);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('copies into later fragments the options with the copy bit, and those alone', () => {
    const packet = udpPacket({ to: '10.0.0.2:53', payload: 300, ipOptions: OPTIONS });
    const [first, second] = fragments(packet, 200).map((piece) => ipv4.parse(piece)!);
    expect([...first.options]).toEqual([...OPTIONS]);
    expect([...second.options]).toEqual([131, 7, 4, 1, 2, 3, 4, 148, 4, 0, 0, 0]);
  });

  it('of a fragment goes on where that one stood, and keeps its "more"', () => {
    const packet = udpPacket({ to: '10.0.0.2:53', payload: 3972 });
    const middle = fragments(packet, 1500)[1];
    const pieces = fragments(middle, 500).map((piece) => ipv4.parse(piece)!);
    expect(pieces.map((each) => [each.fragmentOffset, each.moreFragments])).toEqual([
      [1480, true],
      [1960, true],
      [2440, true],
      [2920, true],
    ]);
  });

  it('respects "do not fragment" and gives up on what cannot be cut', () => {
    const whole = udpPacket({ to: '10.0.0.2:53', payload: 500, dontFragment: true });
    const count = (bytes: Uint8Array, mtu: number) => fragmentCount(bytes, 0, bytes.length, mtu);
    expect(count(whole, 528)).toBe(1);
    expect(count(whole, 527)).toBe(NEEDS_FRAGMENTATION);
    const packet = udpPacket({ to: '10.0.0.2:53', payload: 500 });
    expect(count(packet, 28)).toBe(64);
    expect(count(packet, 27)).toBe(CANNOT_FRAGMENT);
    expect(count(packet.subarray(0, 100), 200)).toBe(CANNOT_FRAGMENT);
    const malformed = udpPacket({ to: '10.0.0.2:53', payload: 500, ipOptions: Uint8Array.of(131, 9, 0, 0) });
    expect(count(malformed, 200)).toBe(CANNOT_FRAGMENT);
  });
});
