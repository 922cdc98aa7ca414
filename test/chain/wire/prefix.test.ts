import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ACCEPTED, ChainHeader } from '../../../src/chain/wire/header.ts';
import { innerMtu, overhead } from '../../../src/chain/wire/mtu.ts';
import {
  emitPrefix,
  emitProbe,
  MAX_PREFIX,
  PROBE_LENGTH,
  prefixLength,
} from '../../../src/chain/wire/prefix.ts';
import * as tlv from '../../../src/chain/wire/tlv.ts';
import { bytesOf, FLOW, GENEVE, GPE, hexOf, NSH, PATH, prefixOf, SAMPLE } from './samples.ts';

const page = readFileSync(new URL('../../../docs/chain/wire.md', import.meta.url), 'utf8');

describe('the prefix of a flow', () => {
  it('has the verified bytes, over VXLAN-GPE and over Geneve', () => {
    expect(hexOf(prefixOf())).toBe(GPE + NSH + FLOW + PATH);
    expect(hexOf(prefixOf({ encapsulation: 'geneve' }))).toBe(GENEVE + NSH + FLOW + PATH);
    expect(hexOf(prefixOf({ family: 6 })).slice(16, 24)).toBe('0fca0202');
    expect(hexOf(prefixOf({ servicePath: 0x800007 })).slice(24, 32)).toBe('800007ff');
  });

  it('comes back from its bytes, wherever they stand', () => {
    const prefix = fc.record({
      encapsulation: fc.constantFrom('vxlan-gpe' as const, 'geneve' as const),
      tenant: fc.nat(0xffffff),
      servicePath: fc.nat(0xffffff),
      family: fc.constantFrom(4 as const, 6 as const),
      flowHigh: fc.integer(),
      flowLow: fc.integer(),
      revision: fc.nat(0xffffffff),
      generation: fc.nat(0xffff),
      start: fc.nat(0xffff),
      replicas: fc.array(fc.nat(0xffff), { maxLength: tlv.MAX_FUNCTIONS }),
      end: fc.nat(0xffff),
    });
    const header = new ChainHeader();
    fc.assert(
      fc.property(prefix, fc.nat(20), (fields, at) => {
        const bytes = new Uint8Array(at + MAX_PREFIX + 5).fill(0xee);
        const length = emitPrefix(fields, bytes, at);
        expect(length).toBe(prefixLength(fields.replicas.length));
        expect([...bytes.subarray(at + length)].every((byte) => byte === 0xee)).toBe(true);
        expect(header.read(bytes, at, bytes.length, fields.encapsulation)).toBe(ACCEPTED);
        const { path, flow } = header;
        expect({
          encapsulation: fields.encapsulation,
          tenant: header.tenant,
          servicePath: fields.servicePath,
          family: header.family,
          flowHigh: tlv.flowHigh(bytes, flow),
          flowLow: tlv.flowLow(bytes, flow),
          revision: tlv.revision(bytes, path),
          generation: tlv.generation(bytes, path),
          start: tlv.replica(bytes, path, tlv.START),
          replicas: Array.from({ length: header.functions }, (_, k) => tlv.replica(bytes, path, k)),
          end: tlv.replica(bytes, path, header.functions),
        }).toEqual(fields);
        expect([header.end, header.position]).toEqual([at + length, 0]);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('of the longest chain fits into the headroom of a packet', () => {
    expect(prefixLength(tlv.MAX_FUNCTIONS)).toBe(108);
    expect(prefixLength(tlv.MAX_FUNCTIONS)).toBeLessThanOrEqual(MAX_PREFIX);
  });

  it('leaves an MTU of 1424 over IPv4 and 1404 over IPv6 to three functions', () => {
    expect([overhead(3, 4), innerMtu(1500, 3, 4)]).toEqual([76, 1424]);
    expect([overhead(3, 6), innerMtu(1500, 3, 6)]).toEqual([96, 1404]);
  });
});

describe('a probe of a replica', () => {
  it('has the verified bytes', () => {
    const bytes = new Uint8Array(PROBE_LENGTH).fill(0xee);
    expect(emitProbe(SAMPLE, bytes)).toBe(bytes.length);
    expect(hexOf(bytes)).toBe(`${GPE}2fc50200000007fffff601080000000000000000`);
    const header = new ChainHeader();
    expect(header.read(bytes, 0, bytes.length, 'vxlan-gpe')).toBe(ACCEPTED);
    expect([header.family, header.path, header.position]).toEqual([0, -1, 0]);
  });
});

describe('the page about the wire', () => {
  it('shows the bytes that are sent', () => {
    const blocks = [...page.matchAll(/```text\n(0c .*?)```/gs)].map((found) =>
      hexOf(bytesOf(found[1]!.replace(/ {2,}.*$/gm, ''))),
    );
    const probe = new Uint8Array(PROBE_LENGTH);
    emitProbe(SAMPLE, probe);
    expect(blocks).toEqual([hexOf(prefixOf()), hexOf(probe)]);
  });

  it('has the overheads that are computed', () => {
    const rows = [...page.matchAll(/^\|( \d+ \|){6}$/gm)].map((found) =>
      found[0].split('|').slice(1, -1).map(Number),
    );
    expect(rows.length).toBeGreaterThan(5);
    expect(rows).toEqual(
      rows.map(([n]) => [
        n,
        prefixLength(n!),
        overhead(n!, 4),
        innerMtu(1500, n!, 4),
        overhead(n!, 6),
        innerMtu(1500, n!, 6),
      ]),
    );
  });
});
