import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ADDRESS_ROW, AddressBook } from '../../src/engine/address-book.ts';
import { DeadlineHeap } from '../../src/engine/deadlines.ts';
import { LiveRuntime } from '../../src/engine/live-runtime.ts';
import { checkOptions } from '../../src/engine/options.ts';
import { randomStream } from '../../src/engine/random.ts';
import { duration } from '../../src/engine/units.ts';
import { VirtualRuntime } from '../../src/engine/virtual-runtime.ts';

describe('the heap of deadlines', () => {
  it('gives the earliest first, like a sorted list, whatever is set, moved and removed', () => {
    const step = fc.oneof(
      fc.record({ set: fc.nat(20), time: fc.integer({ min: 0, max: 50 }) }),
      fc.record({ remove: fc.nat(20) }),
      fc.record({ pop: fc.constant(true) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const heap = new DeadlineHeap();
        const slow = new Map<number, number>();
        const first = () => [...slow].sort(([a, x], [b, y]) => x - y || a - b)[0];
        for (const s of steps) {
          if ('set' in s) {
            heap.set(s.set, s.time);
            slow.set(s.set, s.time);
          } else if ('remove' in s) {
            heap.remove(s.remove);
            slow.delete(s.remove);
          } else if (slow.size > 0) {
            const [id] = first();
            expect(heap.pop()).toBe(id);
            slow.delete(id);
          }
          expect(heap.first()).toBe(first()?.[1] ?? Number.POSITIVE_INFINITY);
        }
      }),
      { seed: 1, numRuns: 300 },
    );
  });
});

describe('random streams', () => {
  it('are the same for the same seed and name, and unlike for others', () => {
    const draw = (seed: number, name: string) =>
      Array.from({ length: 8 }, () => 0).map(
        (
          (s) => () =>
            s.u32()
        )(randomStream(seed, name)),
      );
    expect(draw(7, 'loss')).toEqual(draw(7, 'loss'));
    expect(draw(7, 'loss')).not.toEqual(draw(7, 'delay'));
    expect(draw(7, 'loss')).not.toEqual(draw(8, 'loss'));
  });

  it('are uniform: a chi-square over 256 cells stays inside its 99.9 % interval', () => {
    for (const seed of [1, 2, 3, 0xffffffff]) {
      const stream = randomStream(seed, 'uniform');
      const cells = new Float64Array(256);
      const n = 256_000;
      for (let i = 0; i < n; i++) cells[stream.below(256)]++;
      const chi = cells.reduce((sum, c) => sum + (c - n / 256) ** 2 / (n / 256), 0);
      // 255 degrees of freedom: 0.05 % and 99.95 % quantiles.
      expect(chi).toBeGreaterThan(186);
      expect(chi).toBeLessThan(338);
    }
  });
});

describe('durations', () => {
  it('are read with their unit and refused without', () => {
    expect(duration('50ms')).toBe(50_000_000);
    expect(duration('1.5s')).toBe(1_500_000_000);
    expect(duration('2 min')).toBe(120_000_000_000);
    expect(duration(17)).toBe(17);
    for (const bad of ['', '50', 'ms', '-1s', '1d', '1e3s', 'NaNs'])
      expect(() => duration(bad)).toThrow(/expected one such as/);
    expect(() => duration(Number.NaN)).toThrow();
    expect(() => duration(-1)).toThrow();
  });
});

describe('the virtual runtime', () => {
  it('fires timers at their time, in the order in which they were set, and not when cancelled', () => {
    const runtime = new VirtualRuntime();
    const fired: string[] = [];
    runtime.timer(2000, () => fired.push(`b@${runtime.now()}`));
    runtime.timer(1000, () => fired.push(`a@${runtime.now()}`));
    runtime.timer(2000, () => fired.push(`c@${runtime.now()}`));
    const cancel = runtime.timer(1500, () => fired.push('never'));
    cancel();
    runtime.timer(1000, () => void runtime.timer(0, () => fired.push(`late@${runtime.now()}`)));
    runtime.advance(1999);
    expect(fired).toEqual(['a@1000', 'late@1000']);
    runtime.advance('1ms');
    expect(fired).toEqual(['a@1000', 'late@1000', 'b@2000', 'c@2000']);
    expect(runtime.now()).toBe(1999 + 1_000_000);
  });

  it('makes secrets of its seed, so that a run can be repeated', () => {
    expect(new VirtualRuntime({ seed: 3 }).secret(16)).toEqual(new VirtualRuntime({ seed: 3 }).secret(16));
    expect(new VirtualRuntime({ seed: 3 }).secret(16)).not.toEqual(
      new VirtualRuntime({ seed: 4 }).secret(16),
    );
  });
});

describe('the live runtime', () => {
  it('never fires a timer early, and never seeds secrets', async () => {
    const runtime = new LiveRuntime({ seed: 1 });
    for (const wait of [0, 300_000, 1_700_000, 20_000_000]) {
      const at = runtime.now() + wait;
      await new Promise<void>((resolve) => runtime.timer(at, resolve));
      expect(runtime.now()).toBeGreaterThanOrEqual(at);
    }
    expect(new LiveRuntime({ seed: 1 }).secret(16)).not.toEqual(runtime.secret(16));
    expect(new LiveRuntime({ seed: 1 }).random('x').u32()).toBe(runtime.random('x').u32());
  });
});

describe('the address book', () => {
  const address = (n: number) => ({
    family: 4 as const,
    bytes: Uint8Array.of(192, 0, 2, n),
    port: 1000 + n,
    scope: 0,
  });

  it('keeps an address under one number until as many let go as asked for it', () => {
    const book = new AddressBook(64);
    const row = book.pinAddress(address(1));
    expect(book.pinAddress(address(1))).toBe(row);
    expect(book.pinAddress(address(2))).not.toBe(row);
    expect(book.describe(row)).toBe('192.0.2.1:1001');
    book.unpin(row);
    expect(book.rowFor(address(1))).toBe(row);
    book.unpin(row);
    expect(book.rowFor(address(1))).not.toBe(row);
    book.unpin(row);
  });

  it('gives strangers the rows of a ring, in turn, and never those that are kept', () => {
    const book = new AddressBook(8);
    const rows = Array.from({ length: 16 }, (_, i) => book.rowFor(address(i)));
    expect(rows.slice(8)).toEqual(rows.slice(0, 8));
    expect(new Set(rows).size).toBe(8);
    expect(Math.min(...rows)).toBeGreaterThanOrEqual(book.pinned);
    expect(Math.max(...rows)).toBeLessThan(book.rows.length / ADDRESS_ROW);
  });

  it('tells ports what is kept, also those that come later', () => {
    const book = new AddressBook(8);
    const row = book.pinAddress(address(1));
    const log: string[] = [];
    const leave = book.listen({ pinned: (r) => log.push(`+${r}`), unpinned: (r) => log.push(`-${r}`) });
    const other = book.pinAddress(address(2));
    book.unpin(row);
    leave();
    book.unpin(other);
    expect(log).toEqual([`+${row}`, `+${other}`, `-${row}`]);
  });
});

describe('options', () => {
  const schema = z.strictObject({
    a: z.number().default(1),
    deep: z.strictObject({ b: z.string() }).optional(),
  });

  it('are refused with path, what was found and what was expected', () => {
    expect(checkOptions(schema, {})).toEqual({ a: 1 });
    expect(() => checkOptions(schema, { c: 1 })).toThrow(
      'found the unknown key "c", expected one of a, deep',
    );
    expect(() => checkOptions(schema, { deep: { b: 'x', d: 1 } })).toThrow(
      'deep: found the unknown key "d", expected one of b',
    );
    expect(() => checkOptions(schema, { deep: { b: 5 } })).toThrow(/^deep\.b: found 5, .*expected string/);
  });
});
