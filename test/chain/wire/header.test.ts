import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { HopDrop } from '../../../src/chain/hop/reasons.ts';
import { ChainDrop } from '../../../src/chain/reasons.ts';
import { ACCEPTED, ChainHeader } from '../../../src/chain/wire/header.ts';
import { reasonName } from '../../../src/engine/reasons.ts';
import { bytesOf, FLOW, GENEVE, GPE, NSH, PATH, prefixOf } from './samples.ts';

const header = new ChainHeader();
const read = (hex: string, encapsulation: 'vxlan-gpe' | 'geneve' = 'vxlan-gpe') => {
  const bytes = bytesOf(hex);
  const found = header.read(bytes, 0, bytes.length, encapsulation);
  return found === ACCEPTED ? 'accepted' : reasonName(found);
};
const tlv = (head: string, length: number) => head + '00'.repeat(length);

describe('the header of a packet in a chain', () => {
  it('says where on the path the packet is', () => {
    for (const [index, position] of [
      ['ff', 0],
      ['fe', 1],
      ['fc', 3],
    ] as const) {
      expect(read(GPE + NSH.slice(0, -2) + index + FLOW + PATH)).toBe('accepted');
      expect([header.position, header.functions]).toEqual([position, 3]);
    }
  });

  it('is found behind TLVs and Geneve options that are not known here', () => {
    const other = 'abcd0303010203 00';
    expect(read(`${GPE}0fce0201000007ff${other}${FLOW}${other}${PATH}`)).toBe('accepted');
    expect([header.flow, header.path, header.end]).toEqual([24, 44, 64]);
    const option = 'ff00010111223344';
    expect(read(`02${GENEVE.slice(2)}${option}${NSH}${FLOW}${PATH}`, 'geneve')).toBe('accepted');
    expect([header.nsh, header.tenant]).toEqual([16, 42]);
  });

  it.each([
    ['chain-encapsulation', 'a datagram of 7 bytes', GPE.slice(2)],
    ['chain-encapsulation', 'another version of VXLAN-GPE', `1c${GPE.slice(2)}${NSH}${FLOW}${PATH}`],
    ['chain-encapsulation', 'Ethernet behind VXLAN-GPE', `0c00000300002a00${NSH}${FLOW}${PATH}`],
    ['nsh-truncated', 'no bytes behind VXLAN-GPE', GPE],
    ['nsh-version', 'another version', `${GPE}4fca0201000007ff${FLOW}${PATH}`],
    ['nsh-metadata-type', 'metadata type 0', `${GPE}0fca0001000007ff${FLOW}${PATH}`],
    ['nsh-length', 'a length of one word', `${GPE}0fc10201000007ff${FLOW}${PATH}`],
    ['nsh-tlv', 'a TLV over the end', `${GPE}${NSH}${FLOW}fff60211${PATH.slice(8)}`],
    ['nsh-too-long', 'more metadata than fits', `${GPE}0fe00201000007ff${FLOW}${tlv('00000068', 104)}`],
    ['nsh-next-protocol', 'Ethernet behind NSH', `${GPE}0fca0203000007ff${FLOW}${PATH}`],
    ['nsh-next-protocol', 'the O bit and a packet', `${GPE}2fca0201000007ff${FLOW}${PATH}`],
    ['nsh-next-protocol', 'no packet and no O bit', `${GPE}0fca0200000007ff${FLOW}${PATH}`],
    ['nsh-no-path', 'metadata type 1', `${GPE}0fc60101000007ff${'00'.repeat(16)}`],
    ['nsh-no-path', 'no FLOW', `${GPE}0fc70201000007ff${PATH}`],
    ['nsh-no-path', 'a FLOW of 4 bytes', `${GPE}0fc90201000007fffff6010400f1a2b3${PATH}`],
    ['nsh-no-path', 'no PATH', `${GPE}0fc50201000007ff${FLOW}`],
    ['nsh-no-path', 'a PATH of 8 bytes', `${GPE}0fc80201000007ff${FLOW}fff602080000001100010003`],
    ['nsh-no-path', 'half a replica id', `${GPE}${NSH}${FLOW}fff6020f${PATH.slice(8)}`],
    ['nsh-no-path', '33 functions', `${GPE}0fd90201000007ff${FLOW}${tlv('fff6024c', 76)}`],
    ['nsh-service-index', 'an index beyond the end', `${GPE}0fca0201000007fb${FLOW}${PATH}`],
  ])('is refused as %s: %s', (reason, _, hex) => {
    expect(read(hex)).toBe(reason);
  });

  it.each([
    ['a critical option', `0240894f00002a00ff00810111223344${NSH}${FLOW}${PATH}`],
    ['an option over the end', `0200894f00002a00ff00010211223344${NSH}${FLOW}${PATH}`],
    ['another protocol', `0000655800002a00${NSH}${FLOW}${PATH}`],
  ])('is refused behind Geneve with %s', (_, hex) => {
    expect(read(hex, 'geneve')).toBe('chain-encapsulation');
  });

  it('has every reason on its page', () => {
    const page = readFileSync(new URL('../../../docs/chain/wire.md', import.meta.url), 'utf8');
    const listed = [...page.matchAll(/^\| `(.*?)` \|/gm)].map((found) => found[1]);
    const reasons = new Set([...Object.values(ChainDrop), ...Object.values(HopDrop)].map(reasonName));
    expect(listed.sort()).toEqual([...reasons].sort());
  });
});

describe('a million mutated packets of a chain', () => {
  it('are read or refused with a reason, and nothing beyond their end matters', () => {
    let state = 0x9e3779b9;
    const random = (below: number) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const corpus = [
      prefixOf(),
      prefixOf({ encapsulation: 'geneve' }),
      prefixOf({ replicas: [] }),
      bytesOf(`${GPE}2fc50200000007fffff601080000000000000000`),
    ];
    const counts = new Map<number, number>();
    const [a, b] = [new Uint8Array(160), new Uint8Array(160)];
    const twin = new ChainHeader();
    const fields = (h: ChainHeader) => [h.tenant, h.nsh, h.flow, h.path, h.end, h.functions, h.position];
    let wrong = 0;
    for (let n = 0; n < 1_000_000; n++) {
      const original = corpus[n & 3]!;
      a.fill(0xff);
      a.set(original);
      let end = original.length;
      for (let flips = 1 + random(3); flips > 0; flips--) a[random(end)]! ^= 1 << random(8);
      if (random(8) === 0) end = random(end + 1);
      b.set(a);
      b.fill(0, end);
      const encapsulation = (n & 3) === 1 ? 'geneve' : 'vxlan-gpe';
      const found = header.read(a, 0, end, encapsulation);
      if (twin.read(b, 0, end, encapsulation) !== found) wrong++;
      counts.set(found, (counts.get(found) ?? 0) + 1);
      if (found !== ACCEPTED) continue;
      if (header.end > end || header.path >= header.end || header.position > 255) wrong++;
      if (header.path >= 0 && header.position > header.functions) wrong++;
      if ((n & 63) === 0 && String(fields(header)) !== String(fields(twin))) wrong++;
    }
    expect(wrong).toBe(0);
    expect(counts.get(ACCEPTED)).toBeGreaterThan(100_000);
    const seen = [...counts.keys()].filter((each) => each !== ACCEPTED).map(reasonName);
    // The TTL is for those who forward. Nothing in the corpus is as long as the headroom, until a length says so.
    const all = Object.values(ChainDrop).map(reasonName);
    expect(all.filter((each) => !seen.includes(each)).sort()).toEqual(['nsh-too-long', 'nsh-ttl']);
  }, 60_000);
});
