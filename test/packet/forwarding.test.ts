import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  applyOuterEcn,
  decapsulateEcn,
  decrementTtl,
  ECN_DROP,
  Ecn,
  ecnOf,
  encapsulateEcn,
  ip,
  ipv4,
  ipv6,
  setEcn,
  udpPacket,
  Verdict,
  verifyTransport,
} from '../../src/packet/index.ts';

const packets = fc.record({
  version: fc.constantFrom(4, 6),
  ttl: fc.nat(255),
  dscp: fc.nat(63),
  ecn: fc.nat(3),
  identification: fc.nat(0xffff),
  payload: fc.nat(20),
  flowLabel: fc.nat(0xfffff),
});
const build = (shape: { version: number; ttl: number; dscp: number; ecn: number; payload: number }) =>
  udpPacket({ ...shape, to: shape.version === 4 ? '10.0.0.2:53' : '[fd00::2]:53' });

/** The packet is still one whose checksums are right. */
function expectSound(bytes: Uint8Array) {
  if (bytes[0] >> 4 === 4) expect(ipv4.checksumOk(bytes, 0)).toBe(true);
  expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
}

describe('forwarding', () => {
  it('takes one off the TTL and makes the packet that would have been built so', () => {
    fc.assert(
      fc.property(packets, (shape) => {
        const bytes = build(shape);
        const before = bytes.slice();
        if (shape.ttl <= 1) {
          expect(decrementTtl(bytes, 0)).toBe(false);
          expect(bytes).toEqual(before);
        } else {
          expect(decrementTtl(bytes, 0)).toBe(true);
          expect(bytes).toEqual(build({ ...shape, ttl: shape.ttl - 1 }));
        }
        expectSound(bytes);
      }),
      { seed: 1, numRuns: 1000 },
    );
  });

  it('writes ECN and nothing else', () => {
    fc.assert(
      fc.property(packets, fc.nat(3), (shape, ecn) => {
        const bytes = build(shape);
        setEcn(bytes, 0, ecn);
        expect(bytes).toEqual(build({ ...shape, ecn }));
        expect(ecnOf(bytes, 0)).toBe(ecn);
      }),
      { seed: 2, numRuns: 500 },
    );
  });
});

describe('ECN in a tunnel', () => {
  it('is copied outwards, or cleared in compatibility mode (RFC 6040, 4.1)', () => {
    expect([0, 1, 2, 3].map((ecn) => encapsulateEcn(ecn))).toEqual([0, 1, 2, 3]);
    expect([0, 1, 2, 3].map((ecn) => encapsulateEcn(ecn, 'compatibility'))).toEqual([0, 0, 0, 0]);
  });

  it.each([
    // RFC 6040, figure 4: the columns are outer Not-ECT, ECT(0), ECT(1), CE.
    ['Not-ECT', Ecn.NotEct, [Ecn.NotEct, Ecn.NotEct, Ecn.NotEct, ECN_DROP]],
    ['ECT(0)', Ecn.Ect0, [Ecn.Ect0, Ecn.Ect0, Ecn.Ect1, Ecn.Ce]],
    ['ECT(1)', Ecn.Ect1, [Ecn.Ect1, Ecn.Ect1, Ecn.Ect1, Ecn.Ce]],
    ['CE', Ecn.Ce, [Ecn.Ce, Ecn.Ce, Ecn.Ce, Ecn.Ce]],
  ])('of an inner %s comes out as RFC 6040, figure 4, has it', (_, inner, expected) => {
    const outer = [Ecn.NotEct, Ecn.Ect0, Ecn.Ect1, Ecn.Ce];
    expect(outer.map((each) => decapsulateEcn(inner, each))).toEqual(expected);
  });

  it.each([4, 6])('is applied to the IPv%i packet that comes out', (version) => {
    const shape = { version, ttl: 9, dscp: 10, payload: 4 };
    const marked = build({ ...shape, ecn: Ecn.Ect0 });
    expect(applyOuterEcn(marked, 0, Ecn.Ce)).toBe(true);
    expect(marked).toEqual(build({ ...shape, ecn: Ecn.Ce }));
    const lost = build({ ...shape, ecn: Ecn.NotEct });
    expect(applyOuterEcn(lost, 0, Ecn.Ce)).toBe(false);
    expect(lost).toEqual(build({ ...shape, ecn: Ecn.NotEct }));
    expect(applyOuterEcn(lost, 0, Ecn.Ect1)).toBe(true);
    expectSound(marked);
    expect((version === 4 ? ipv4 : ipv6).dscp(marked, 0)).toBe(10);
    expect(ip.hopLimit(marked, 0)).toBe(9);
  });
});
