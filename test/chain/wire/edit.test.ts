import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { adoptNewer, advance, repath, restart, toProbe, turnRound } from '../../../src/chain/wire/edit.ts';
import { ACCEPTED, ChainHeader } from '../../../src/chain/wire/header.ts';
import { isNewer } from '../../../src/chain/wire/tlv.ts';
import * as nsh from '../../../src/packet/nsh.ts';
import { bytesOf, FLOW, GPE, hexOf, PATH, prefixOf } from './samples.ts';

const AT_NSH = 8;
const AT_PATH = 28;
/** Start, functions, end. */
const WAY = '00030011002100310041';

describe('a prefix, edited in place', () => {
  it('goes to the next hop with TTL and service index less one', () => {
    const bytes = prefixOf();
    expect(advance(bytes, AT_NSH)).toBe(true);
    expect(hexOf(bytes)).toBe(`${GPE}0f8a0201000007fe${FLOW}${PATH}`);
  });

  it('passes every function and the end of its path, and goes no further when the TTL or the index ends', () => {
    const bytes = prefixOf();
    const header = new ChainHeader();
    for (let position = 0; position <= 3; position++) {
      expect(header.read(bytes, 0, bytes.length, 'vxlan-gpe')).toBe(ACCEPTED);
      expect(header.position).toBe(position);
      advance(bytes, AT_NSH);
    }
    nsh.setTtl(bytes, AT_NSH, 1);
    const before = hexOf(bytes);
    expect(advance(bytes, AT_NSH)).toBe(false);
    nsh.setTtl(bytes, AT_NSH, 63);
    nsh.setServiceIndex(bytes, AT_NSH, 0);
    expect(advance(bytes, AT_NSH)).toBe(false);
    expect([nsh.ttl(bytes, AT_NSH), nsh.serviceIndex(bytes, AT_NSH)]).toEqual([63, 0]);
    expect(before.slice(16, 24)).toBe('004a0201');
  });

  it('turns round with both ends and the replicas in turned order, and back to what it was', () => {
    const bytes = prefixOf();
    advance(bytes, AT_NSH);
    turnRound(bytes, AT_NSH, AT_PATH);
    expect(hexOf(bytes)).toBe(`${GPE}0fca0201800007ff${FLOW}${PATH.replace(WAY, '00410031002100110003')}`);
    turnRound(bytes, AT_NSH, AT_PATH);
    expect(hexOf(bytes)).toBe(hexOf(prefixOf()));
  });

  it('of every length is its own way back', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0xffff), { maxLength: 32 }), (replicas) => {
        const bytes = prefixOf({ replicas });
        turnRound(bytes, AT_NSH, AT_PATH);
        const way = { start: 65, replicas: replicas.toReversed(), end: 3 };
        const reversed = prefixOf({ ...way, servicePath: 0x800007 });
        expect(hexOf(bytes)).toBe(hexOf(reversed));
      }),
      { seed: 1 },
    );
  });

  it('gets other replicas and a generation', () => {
    const bytes = prefixOf();
    repath(bytes, AT_PATH, 2, [18, 33, 49]);
    expect(hexOf(bytes)).toBe(hexOf(prefixOf({ generation: 2, replicas: [18, 33, 49] })));
  });

  it('takes over a path of a newer generation, and no other', () => {
    const newer = prefixOf({ generation: 2, start: 4, replicas: [18, 34, 50], end: 66 });
    const bytes = prefixOf();
    expect(adoptNewer(bytes, AT_PATH, newer, AT_PATH)).toBe(true);
    expect(hexOf(bytes)).toBe(hexOf(newer));
    expect(adoptNewer(bytes, AT_PATH, prefixOf(), AT_PATH)).toBe(false);
    expect(adoptNewer(bytes, AT_PATH, newer, AT_PATH)).toBe(false);
    expect(hexOf(bytes)).toBe(hexOf(newer));
    const shorter = prefixOf({ generation: 3, replicas: [1] });
    expect(adoptNewer(bytes, AT_PATH, shorter, AT_PATH)).toBe(false);
  });

  it('starts again, and becomes a probe of its path', () => {
    const bytes = prefixOf();
    advance(bytes, AT_NSH);
    restart(bytes, AT_NSH);
    expect(hexOf(bytes)).toBe(hexOf(prefixOf()));
    toProbe(bytes, AT_NSH);
    expect(hexOf(bytes)).toBe(`${GPE}2fca0200000007ff${FLOW}${PATH}`);
    const header = new ChainHeader();
    expect(header.read(bytes, 0, bytes.length, 'vxlan-gpe')).toBe(ACCEPTED);
    expect([header.family, header.functions]).toEqual([0, 3]);
  });

  it('keeps unassigned bits and the TLVs of others', () => {
    const other = 'abcd0383010203ff';
    const bytes = bytesOf(`${GPE}1fcce201000007ff${other}${FLOW}${PATH}`);
    const path = AT_PATH + 8;
    advance(bytes, AT_NSH);
    turnRound(bytes, AT_NSH, path);
    turnRound(bytes, AT_NSH, path);
    repath(bytes, path, 1, [17, 33, 49]);
    expect(hexOf(bytes)).toBe(`${GPE}1fcce201000007ff${other}${FLOW}${PATH}`);
  });
});

describe('generations', () => {
  it('are compared as serial numbers', () => {
    expect([isNewer(2, 1), isNewer(1, 1), isNewer(1, 2)]).toEqual([true, false, false]);
    expect([isNewer(0, 65535), isNewer(65535, 0)]).toEqual([true, false]);
    fc.assert(
      fc.property(fc.nat(0xffff), fc.integer({ min: 1, max: 0x7fff }), (a, step) => {
        const b = (a + step) & 0xffff;
        expect([isNewer(b, a), isNewer(a, b)]).toEqual([true, false]);
      }),
      { seed: 2 },
    );
  });
});
