import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PrefixTable, parseIp, parsePrefix } from '../../src/packet/index.ts';

/** A list that is searched from end to end. */
class SlowRouter {
  #routes = new Map<string, number>();

  static bits = (bytes: Uint8Array, length: number) =>
    Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0'))
      .join('')
      .slice(0, length);

  insert(bytes: Uint8Array, length: number, value: number) {
    this.#routes.set(SlowRouter.bits(bytes, length), value);
  }

  remove(bytes: Uint8Array, length: number): boolean {
    return this.#routes.delete(SlowRouter.bits(bytes, length));
  }

  lookup(bytes: Uint8Array): number {
    const address = SlowRouter.bits(bytes, 128);
    let [best, longest] = [-1, -1];
    for (const [prefix, value] of this.#routes) {
      if (prefix.length > longest && address.startsWith(prefix)) [best, longest] = [value, prefix.length];
    }
    return best;
  }

  get size() {
    return this.#routes.size;
  }
}

/** Few different bytes, so that prefixes nest and addresses meet them. */
const addresses = (size: number) =>
  fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes) => bytes.map((byte) => [0, 1, 128, 255][byte & 3]));

describe.each([
  [4, 4],
  [6, 16],
] as const)('the prefix table of IPv%i', (family, size) => {
  it('agrees with a linear router through insertions and removals', () => {
    const step = fc.record({
      remove: fc.boolean(),
      bytes: addresses(size),
      length: fc.integer({ min: 0, max: 8 * size }),
      value: fc.nat(1000),
      look: fc.array(addresses(size), { minLength: 3, maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(5), (steps, offset) => {
        const table = new PrefixTable(family);
        const slow = new SlowRouter();
        const at = (bytes: Uint8Array) => {
          const whole = new Uint8Array(offset + size);
          whole.set(bytes, offset);
          return whole;
        };
        // Removals of what is there, and of what is not.
        const known: { bytes: Uint8Array; length: number }[] = [];
        for (const { remove, bytes, length, value, look } of steps) {
          if (remove) {
            const victim =
              value % 4 > 0 && known.length > 0 ? known[value % known.length] : { bytes, length };
            expect(table.remove(at(victim.bytes), offset, victim.length)).toBe(
              slow.remove(victim.bytes, victim.length),
            );
          } else {
            table.insert(at(bytes), offset, length, value);
            slow.insert(bytes, length, value);
            known.push({ bytes, length });
          }
          expect(table.size).toBe(slow.size);
          expect(table.nodes).toBeLessThanOrEqual(Math.max(0, 2 * slow.size - 1));
          for (const each of [...look, bytes]) expect(table.lookup(at(each), offset)).toBe(slow.lookup(each));
        }
      }),
      { seed: family, numRuns: 300 },
    );
  });

  it('holds no nodes after being filled and emptied again and again', () => {
    const table = new PrefixTable(family);
    const bytes = new Uint8Array(size);
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 16; i++) {
        bytes[0] = i * 16;
        table.insert(bytes, 0, 4, i);
      }
      bytes[0] = 0x5f;
      expect(table.lookup(bytes, 0)).toBe(5);
      for (let i = 0; i < 16; i++) {
        bytes[0] = i * 16;
        expect(table.remove(bytes, 0, 4)).toBe(true);
      }
      expect(table.lookup(bytes, 0)).toBe(-1);
    }
    expect([table.size, table.nodes]).toEqual([0, 0]);
  });
});

describe('the prefix table', () => {
  const table = new PrefixTable(4);
  const add = (text: string, value: number) => {
    const { address, length } = parsePrefix(text);
    table.insert(address.bytes, 0, length, value);
  };
  const find = (text: string) => table.lookup(parseIp(text).bytes, 0);

  it('answers with the longest prefix, the default route last', () => {
    add('0.0.0.0/0', 0);
    add('10.0.0.0/8', 8);
    add('10.0.0.0/24', 24);
    add('10.0.0.7/32', 32);
    expect(['10.0.0.7', '10.0.0.8', '10.1.0.0', '11.0.0.0'].map(find)).toEqual([32, 24, 8, 0]);
    add('10.0.0.7/32', 33);
    expect([find('10.0.0.7'), table.size]).toEqual([33, 4]);
    table.clear();
    expect([find('10.0.0.7'), table.size]).toEqual([-1, 0]);
  });

  it('refuses what is no prefix and no value', () => {
    expect(() => table.insert(new Uint8Array(4), 0, 33, 0)).toThrow('a prefix length is 0 to 32, not 33');
    expect(() => table.insert(new Uint8Array(4), 0, -1, 0)).toThrow(RangeError);
    expect(() => table.insert(new Uint8Array(4), 0, 8, -1)).toThrow('a value is 0 to 2^31 - 1, not -1');
    expect(() => table.insert(new Uint8Array(4), 1, 8, 1)).toThrow('does not fit');
  });
});
