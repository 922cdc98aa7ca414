import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { get32, nsh, Problem, problemText } from '../../src/packet/index.ts';

const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex.replace(/[^0-9a-f]/g, ''), 'hex'));
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const checkOf = (bytes: Uint8Array) => nsh.check(bytes, 0, bytes.length);
function emitted(header: nsh.NshFields): Uint8Array {
  const bytes = new Uint8Array(nsh.emitLength(header)).fill(0xee);
  expect(nsh.emit(header, bytes)).toBe(bytes.length);
  return bytes;
}

/** A path of three functions, read by tshark and tcpdump. */
const GOLDEN = '0fc90201 000007ff fff60108 00f1a2b3c4d5e6f7 fff6020c 00000011 0001 001100210031';
const FIXED = '0fc60101 00000803 000102030405060708090a0b0c0d0e0f';

describe('the NSH header', () => {
  it('has the bytes of RFC 8300', () => {
    const bytes = emitted({
      nextProtocol: nsh.NextProtocol.Ipv4,
      servicePath: 7,
      metadata: [
        { class: 0xfff6, type: 1, value: bytesOf('00f1a2b3c4d5e6f7') },
        { class: 0xfff6, type: 2, value: bytesOf('00000011 0001 001100210031') },
      ],
    });
    expect(hexOf(bytes)).toBe(hexOf(bytesOf(GOLDEN)));
    const probe = emitted({
      oam: true,
      nextProtocol: nsh.NextProtocol.None,
      servicePath: 7,
      metadata: [{ class: 0xfff6, type: 1, value: new Uint8Array(8) }],
    });
    expect(hexOf(probe)).toBe('2fc50200000007fffff601080000000000000000');
    expect(nsh.parse(bytesOf(FIXED))).toEqual({
      oam: false,
      ttl: 63,
      nextProtocol: nsh.NextProtocol.Ipv4,
      servicePath: 8,
      serviceIndex: 3,
      metadata: bytesOf('000102030405060708090a0b0c0d0e0f'),
      unassigned: 0,
    });
  });

  it('is read in place', () => {
    const bytes = bytesOf(GOLDEN);
    expect(checkOf(bytes)).toBe(Problem.None);
    expect([nsh.ttl(bytes, 0), nsh.headerLength(bytes, 0), nsh.mdType(bytes, 0)]).toEqual([63, 36, 2]);
    expect([nsh.servicePath(bytes, 0), nsh.serviceIndex(bytes, 0)]).toEqual([7, 255]);
    const path = nsh.findTlv(bytes, 0, 0xfff6, 2);
    expect([path, nsh.tlvLength(bytes, path), nsh.nextTlv(bytes, path)]).toEqual([20, 12, 36]);
    expect(nsh.findTlv(bytes, 0, 0xfff6, 3)).toBe(-1);
    expect(nsh.findTlv(bytes, 0, 0xfff5, 1)).toBe(-1);
  });

  it('comes back from its bytes, unassigned bits and unknown TLVs too', () => {
    const tlv = fc.record({
      class: fc.nat(0xffff),
      type: fc.nat(255),
      value: fc.uint8Array({ maxLength: 24 }),
    });
    const header = fc.record({
      oam: fc.boolean(),
      ttl: fc.nat(63),
      nextProtocol: fc.nat(255),
      servicePath: fc.nat(0xffffff),
      serviceIndex: fc.nat(255),
      metadata: fc.oneof(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.array(tlv, { maxLength: 8 })),
      unassigned: fc.constantFrom(0, 0x10000000, 0x0000a000, 0x1000f000),
    });
    fc.assert(
      fc.property(header, (fields) => {
        const bytes = emitted(fields);
        expect(nsh.parse(bytes)).toEqual(fields);
        for (let cut = 0; cut < bytes.length; cut++) expect(nsh.check(bytes, 0, cut)).toBe(Problem.Truncated);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('keeps what its setters do not set', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), fc.nat(0xffffff), (before, value) => {
        const bytes = before.slice();
        nsh.setTtl(bytes, 0, value & 63);
        nsh.setHeaderLength(bytes, 0, (value & 63) << 2);
        nsh.setOam(bytes, 0, (value & 1) === 1);
        nsh.setServicePath(bytes, 0, value);
        nsh.setServiceIndex(bytes, 0, value & 255);
        nsh.setNextProtocol(bytes, 0, value & 255);
        expect([nsh.ttl(bytes, 0), nsh.headerLength(bytes, 0)]).toEqual([value & 63, (value & 63) << 2]);
        expect([nsh.servicePath(bytes, 0), nsh.serviceIndex(bytes, 0)]).toEqual([value, value & 255]);
        expect([nsh.oam(bytes, 0), nsh.nextProtocol(bytes, 0)]).toEqual([(value & 1) === 1, value & 255]);
        const kept = 0xd000ff00;
        expect((get32(bytes, 0) & kept) >>> 0).toBe((get32(before, 0) & kept) >>> 0);
      }),
      { seed: 2, numRuns: 500 },
    );
  });

  it('counts its TTL down, from 0 to 63, and is not forwarded with 0', () => {
    const bytes = bytesOf(GOLDEN);
    expect(nsh.decrementTtl(bytes, 0)).toBe(true);
    expect(hexOf(bytes).slice(0, 8)).toBe('0f890201');
    nsh.setTtl(bytes, 0, 0);
    expect([nsh.decrementTtl(bytes, 0), nsh.ttl(bytes, 0)]).toEqual([true, 63]);
    nsh.setTtl(bytes, 0, 1);
    expect([nsh.decrementTtl(bytes, 0), nsh.ttl(bytes, 0)]).toEqual([false, 1]);
  });

  it.each([
    ['a version that is not 0', '4fc90201 000007ff', Problem.Version],
    ['the version an older implementation wrote', 'f01b1001 07000001', Problem.Version],
    ['metadata type 0', '0fc20001 000007ff', Problem.MetadataType],
    ['metadata type 15', '0fc20f01 000007ff', Problem.MetadataType],
    ['an unassigned metadata type', '0fc20301 000007ff', Problem.MetadataType],
    ['a length below 2 words', '0fc10201 000007ff', Problem.HeaderLength],
    ['metadata type 1 and 5 words', `0fc50101${FIXED.slice(8)}`, Problem.HeaderLength],
    ['metadata type 1 and 7 words', `0fc70101${FIXED.slice(8)}00000000`, Problem.HeaderLength],
    ['a length beyond the packet', '0fc30201 000007ff', Problem.Truncated],
    ['a TLV that runs over the header', '0fc30201 000007ff fff60101 00000000', Problem.Options],
  ])('is refused with %s', (_, hex, problem) => {
    const bytes = bytesOf(hex);
    expect(problemText(checkOf(bytes))).toBe(problemText(problem));
    expect(nsh.parse(bytes)).toBeUndefined();
  });

  it('is not written with metadata that does not fit', () => {
    const into = new Uint8Array(512);
    const header = { nextProtocol: 1, servicePath: 1 };
    const value = new Uint8Array(124);
    const tlv = { class: 1, type: 1, value };
    expect(() => nsh.emit({ ...header, metadata: [tlv, tlv] }, into)).toThrow('takes 256 bytes, 244 fit');
    expect(() => nsh.emit({ ...header, metadata: value }, into)).toThrow('has 16 bytes, not 124');
    expect(() => nsh.emit({ ...header, metadata: [{ ...tlv, value: new Uint8Array(128) }] }, into)).toThrow(
      'up to 127 bytes, not 128',
    );
  });
});

describe('a million mutated NSH headers', () => {
  it('are read without an exception or a byte from beyond their end, or refused with a reason', () => {
    let state = 0x2545f491;
    const random = (below: number) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const corpus = [GOLDEN, FIXED, '2fc50200000007fffff601080000000000000000', '0fc20203 000001fe'].map(
      bytesOf,
    );
    const bytes = new Uint8Array(64);
    const twin = new Uint8Array(64);
    const refusals = new Map<string, number>();
    let wrong = 0;
    let accepted = 0;
    for (let n = 0; n < 1_000_000; n++) {
      const original = corpus[n & 3];
      bytes.fill(0xff);
      bytes.set(original);
      let end = original.length;
      for (let flips = 1 + random(4); flips > 0; flips--) bytes[random(end)] ^= 1 << random(8);
      if (random(4) === 0) bytes[random(Math.min(end, 16))] = random(256);
      if (random(4) === 0) end = random(end + 1);
      const problem = nsh.check(bytes, 0, end);
      // The same with other bytes behind it.
      twin.set(bytes);
      twin.fill(0, end);
      if (nsh.check(twin, 0, end) !== problem) wrong++;
      if (problem !== Problem.None) {
        const text = problemText(problem);
        refusals.set(text, (refusals.get(text) ?? 0) + 1);
        continue;
      }
      accepted++;
      const limit = nsh.headerLength(bytes, 0);
      let tlvs = 0;
      if (nsh.mdType(bytes, 0) === nsh.MdType.Variable) {
        for (let tlv = nsh.METADATA; tlv < limit; tlv = nsh.nextTlv(bytes, tlv)) {
          tlvs++;
          if (tlv + nsh.TLV_HEADER + nsh.tlvLength(bytes, tlv) > limit) wrong++;
        }
      }
      const found = nsh.findTlv(bytes, 0, 0xfff6, 2);
      if (limit > end || tlvs > 61 || found >= limit) wrong++;
      const unassigned = get32(bytes, 0) & 0xd000ff00;
      nsh.decrementTtl(bytes, 0);
      if ((get32(bytes, 0) & 0xd000ff00) !== unassigned) wrong++;
    }
    expect(wrong).toBe(0);
    expect(accepted + [...refusals.values()].reduce((a, b) => a + b, 0)).toBe(1_000_000);
    expect(accepted).toBeGreaterThan(100_000);
    expect([...refusals.keys()].sort()).toEqual([
      'impossible header length',
      'malformed option or extension header',
      'truncated header',
      'unknown metadata type',
      'wrong version',
    ]);
  }, 60_000);
});
