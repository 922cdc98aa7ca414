import { describe, expect, it } from 'vitest';
import { parseStages } from '../../src/impair/spec/text.ts';
import { checksumOk } from '../../src/packet/ipv4.ts';
import { Verdict, verifyTransport } from '../../src/packet/transport.ts';
import { Drive, datagram, type StageInput } from './drive.ts';

const drive = (text: string) => new Drive(parseStages(text) as StageInput[]);

/** Which bits differ. */
function flipped(a: Uint8Array, b: Uint8Array): number[] {
  expect(a.length).toBe(b.length);
  return Array.from({ length: a.length * 8 }, (_, bit) => bit).filter(
    (bit) => (((a[bit >> 3] ^ b[bit >> 3]) << (bit & 7)) & 0x80) !== 0,
  );
}

describe('corrupt', () => {
  it.each([
    ['', 1, 0],
    [' bits 7', 7, 0],
    [' where l4 bits 3', 3, 20],
    [' where payload bits 64', 64, 28],
  ])('flips as many different bits as asked for, where asked for:%s', (words, bits, from) => {
    const d = drive(`corrupt 100%${words}`);
    const original = datagram();
    const places = new Set<number>();
    for (let i = 0; i < 300; i++) d.send(i, d.packet(original));
    for (const { bytes } of d.left) {
      const found = flipped(original, bytes);
      expect(found).toHaveLength(bits);
      expect(found[0]).toBeGreaterThanOrEqual(from * 8);
      for (const bit of found) places.add(bit);
    }
    // 300 draws leave hardly more than 300 places, and many more than a few.
    expect(places.size).toBeGreaterThan(200);
  });

  it('flips all there is where there is less', () => {
    const d = drive('corrupt 100% where payload bits 64');
    const original = datagram(1, 4);
    d.send(0, d.packet(original), d.packet(datagram(1, 0)));
    expect(flipped(original, d.left[0].bytes)).toHaveLength(32);
    expect(d.left[1].bytes).toEqual(datagram(1, 0));
    expect(d.stage().details()).toEqual({ corrupted: 1, empty: 1 });
  });

  it('hits the share asked for', () => {
    const d = drive('corrupt 3%');
    d.many(100_000);
    const { corrupted } = d.stage().details() as { corrupted: number };
    expect(Math.abs(corrupted - 3000)).toBeLessThan(3.29 * Math.sqrt(100_000 * 0.03 * 0.97));
  });

  it('is told by checksums, which are filled in first; with fixChecksum it is not', () => {
    for (const [words, verdict] of [
      ['where payload', Verdict.Wrong],
      ['where payload fixChecksum', Verdict.Right],
    ] as const) {
      const d = drive(`corrupt 100% ${words}`);
      d.send(0, d.superframe({ segments: 5, v6: true }), d.superframe({ segments: 5 }));
      const open = d.superframe({ segments: 2, udp: true });
      // One wire packet whose checksum offload left open, with the pseudo-header's sum in it.
      d.pool.segments[open] = 1;
      d.pool.segmentSize[open] = d.pool.gsoType[open] = 0;
      d.send(1, open);
      expect(d.left).toHaveLength(11);
      for (const { bytes } of d.left) expect(verifyTransport(bytes, 0)).toBe(verdict);
      expect(checksumOk(d.left[6].bytes, 0)).toBe(true);
    }
  });

  it('does not write to bytes that another packet shares', () => {
    const d = drive('corrupt 100%');
    const packet = d.packet();
    const other = d.pool.clone(packet);
    d.send(0, packet);
    expect(d.pool.copyOut(other)).toEqual(datagram());
    expect(d.left[0].bytes).not.toEqual(datagram());
  });

  it('lives through bytes that are no packet', () => {
    for (const where of ['l3', 'l4', 'payload']) {
      const d = drive(`corrupt 100% where ${where} fixChecksum bits 9`);
      for (let length = 0; length < 60; length++) {
        d.send(length, d.packet(datagram().slice(0, length)), d.packet(new Uint8Array(length).fill(0x46)));
      }
      expect(d.left).toHaveLength(120);
      expect(d.close()).toBe(0);
    }
  });
});
