import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EtherType, geneve, Problem, vxlanGpe } from '../../src/packet/index.ts';

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const vni = fc.nat(0xffffff);

describe('a VXLAN-GPE header', () => {
  it('has the bytes of the draft', () => {
    const bytes = new Uint8Array(8).fill(0xee);
    expect(vxlanGpe.emit({ nextProtocol: vxlanGpe.NextProtocol.Nsh, vni: 42 }, bytes)).toBe(8);
    expect(hexOf(bytes)).toBe('0c00000400002a00');
    expect(vxlanGpe.parse(bytes)).toEqual({ flags: 0x0c, nextProtocol: 4, vni: 42 });
  });

  it('comes back from its bytes', () => {
    fc.assert(
      fc.property(fc.nat(15), fc.nat(255), vni, (flags, nextProtocol, id) => {
        const bytes = new Uint8Array(8);
        vxlanGpe.emit({ flags, nextProtocol, vni: id }, bytes);
        expect(vxlanGpe.parse(bytes)).toEqual({
          flags,
          nextProtocol: flags & vxlanGpe.Flag.NextProtocol ? nextProtocol : vxlanGpe.NextProtocol.Ethernet,
          vni: flags & vxlanGpe.Flag.Instance ? id : 0,
        });
      }),
      { seed: 1 },
    );
  });

  it('keeps reserved bits, and is refused when it is cut off or of another version', () => {
    const bytes = Uint8Array.of(0xcc, 1, 2, 4, 0, 0, 42, 9);
    expect(vxlanGpe.check(bytes, 0, 8)).toBe(Problem.None);
    vxlanGpe.setVni(bytes, 0, 0xfffffe);
    expect(hexOf(bytes)).toBe('cc010204fffffe09');
    expect(vxlanGpe.check(bytes, 0, 7)).toBe(Problem.Truncated);
    bytes[0] = 0x1c;
    expect(vxlanGpe.check(bytes, 0, 8)).toBe(Problem.Version);
    expect(vxlanGpe.parse(bytes)).toBeUndefined();
  });
});

describe('a Geneve header', () => {
  it('has the bytes of RFC 8926', () => {
    const bytes = new Uint8Array(8).fill(0xee);
    expect(geneve.emit({ protocol: EtherType.Nsh, vni: 42 }, bytes)).toBe(8);
    expect(hexOf(bytes)).toBe('0000894f00002a00');
  });

  it('comes back from its bytes with its options', () => {
    const option = fc.record({
      class: fc.nat(0xffff),
      type: fc.nat(127),
      data: fc.integer({ min: 0, max: 8 }).map((words) => new Uint8Array(4 * words).fill(words)),
    });
    fc.assert(
      fc.property(fc.nat(0xffff), vni, fc.array(option, { maxLength: 6 }), (protocol, id, options) => {
        const header = { flags: 0, protocol, vni: id, options };
        const bytes = new Uint8Array(geneve.emitLength(header));
        expect(geneve.emit(header, bytes)).toBe(bytes.length);
        expect(geneve.parse(bytes)).toEqual(header);
        for (let cut = 0; cut < bytes.length; cut++)
          expect(geneve.check(bytes, 0, cut)).toBe(Problem.Truncated);
      }),
      { seed: 2 },
    );
  });

  it('says so when an option must not be skipped', () => {
    const bytes = new Uint8Array(12);
    const critical = { class: 0xff00, type: geneve.CRITICAL_OPTION | 3, data: new Uint8Array(0) };
    geneve.emit({ protocol: EtherType.Nsh, vni: 1, options: [critical] }, bytes);
    expect(geneve.flags(bytes, 0)).toBe(geneve.Flag.Critical);
    expect(geneve.parse(bytes)!.options).toEqual([critical]);
  });

  it('is refused when an option runs over it, it is cut off or of another version', () => {
    const bytes = Uint8Array.of(2, 0, 0x89, 0x4f, 0, 0, 42, 0, 0xff, 0, 1, 1, 0, 0, 0, 0);
    expect(geneve.check(bytes, 0, 16)).toBe(Problem.None);
    expect(geneve.check(bytes, 0, 15)).toBe(Problem.Truncated);
    expect(geneve.check(bytes, 0, 7)).toBe(Problem.Truncated);
    bytes[11] = 2;
    expect(geneve.check(bytes, 0, 16)).toBe(Problem.Options);
    bytes[0] = 0x42;
    expect(geneve.check(bytes, 0, 16)).toBe(Problem.Version);
    expect(geneve.parse(bytes)).toBeUndefined();
  });

  it('is not written with options that do not fit', () => {
    const into = new Uint8Array(512);
    const option = { class: 1, type: 1, data: new Uint8Array(124) };
    const header = { protocol: EtherType.Nsh, vni: 1 };
    expect(() => geneve.emit({ ...header, options: [option, option] }, into)).toThrow('take 256 bytes');
    expect(() => geneve.emit({ ...header, options: [{ ...option, data: new Uint8Array(3) }] }, into)).toThrow(
      'a multiple of 4 up to 124',
    );
  });
});
