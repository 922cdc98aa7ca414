import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatFlowId } from '../../src/chain/flow-id.ts';
import { chooser, mend, negativeLog2, place, type Replica, ReplicaSet } from '../../src/chain/placement.ts';
import type { Candidate } from '../../src/chain/roulette/model/view.ts';
import type { Choose } from '../../src/chain/roulette/requests/request.ts';
import { HalfSipHash } from '../../src/packet/half-siphash.ts';

const FLOWS = 10_000;
const replicas = (...weights: number[]): Replica[] =>
  weights.map((weight, i) => ({ id: i + 1, weight, state: 'ready' }));

/** Ids of flows: as they come from a hash. */
const flowId = (n: number): [number, number] => [
  Math.imul(n + 1, 0x9e3779b1),
  Math.imul(n ^ 0x5bd1e995, 0x85ebca6b),
];
const picks = (set: ReplicaSet, flows = FLOWS) =>
  Array.from({ length: flows }, (_, n) => set.pick(...flowId(n)));
const countOf = (all: number[], id: number) => all.filter((each) => each === id).length;

const someReplicas = fc
  .uniqueArray(
    fc.record({ id: fc.integer({ min: 1, max: 65535 }), weight: fc.integer({ min: 1, max: 65535 }) }),
    {
      selector: ({ id }) => id,
      minLength: 2,
      maxLength: 12,
    },
  )
  .map((all): Replica[] => all.map((each) => ({ ...each, state: 'ready' })));

describe('flows', () => {
  it('are spread evenly over four replicas: 25 % +- 3 points of 10 000', () => {
    const all = picks(new ReplicaSet(replicas(1, 1, 1, 1)));
    for (const id of [1, 2, 3, 4]) expect(Math.abs(countOf(all, id) / FLOWS - 0.25)).toBeLessThan(0.03);
    // Chi-squared with 3 degrees of freedom: above 16.3 once in a thousand.
    const chi = [1, 2, 3, 4].reduce((sum, id) => sum + (countOf(all, id) - 2500) ** 2 / 2500, 0);
    expect(chi).toBeLessThan(16.3);
  });

  it.each([[[1, 2, 3, 4]], [[100, 1]], [[65535, 65535, 13107]], [[7, 1000, 65535]]])(
    'are spread by weight: %j',
    (weights) => {
      const flows = 40_000;
      const all = picks(new ReplicaSet(replicas(...weights)), flows);
      const total = weights.reduce((a, b) => a + b);
      for (const [i, weight] of weights.entries()) {
        const share = weight / total;
        // Four standard deviations of a binomial: wrong once in 16 000.
        const deviation = Math.sqrt(flows * share * (1 - share));
        expect(Math.abs(countOf(all, i + 1) - flows * share)).toBeLessThan(4 * deviation + 1);
      }
    },
  );

  it('go to the same replica in whatever order these are listed', () => {
    fc.assert(
      fc.property(someReplicas, fc.integer(), fc.integer(), (all, high, low) => {
        expect(new ReplicaSet(all.toReversed()).pick(high, low)).toBe(new ReplicaSet(all).pick(high, low));
      }),
      { seed: 1 },
    );
  });

  it('go where logarithms of floating point say, but for draws that are all but equal', () => {
    const hash = new HalfSipHash();
    fc.assert(
      fc.property(someReplicas, fc.integer(), fc.integer(), (all, high, low) => {
        const draws = all.map(({ id, weight }) => {
          hash.hash(high, low, Int32Array.of(id), 0, 1);
          return { id, draw: -Math.log2(((hash.high >>> 0) + 1) / 2 ** 32) / weight };
        });
        const [best, second] = draws.toSorted((a, b) => a.draw - b.draw);
        fc.pre(second!.draw / best!.draw > 1.001);
        expect(new ReplicaSet(all).pick(high, low)).toBe(best!.id);
      }),
      { seed: 4, numRuns: 1000 },
    );
  });

  it('are chosen for by a registry as by an ingress', () => {
    const choose: Choose = chooser();
    const all = replicas(3, 1, 2);
    const set = new ReplicaSet(all);
    for (let n = 0; n < 200; n++) {
      const [high, low] = flowId(n);
      expect(choose(formatFlowId(high, low), all as Candidate[])).toBe(set.pick(high, low));
    }
    expect(choose('00f1a2b3c4d5e6f7', [])).toBeUndefined();
    expect(formatFlowId(0x00f1a2b3, 0xc4d5e6f7 | 0)).toBe('00f1a2b3c4d5e6f7');
  });

  it('stay where they are when another replica goes: nothing else moves', () => {
    fc.assert(
      fc.property(someReplicas, fc.nat(), (all, which) => {
        const gone = all[which % all.length]!.id;
        const [before, after] = [new ReplicaSet(all), new ReplicaSet(all.filter(({ id }) => id !== gone))];
        let collateral = 0;
        for (let n = 0; n < 200; n++) {
          const was = before.pick(...flowId(n));
          if (was !== gone && after.pick(...flowId(n)) !== was) collateral++;
        }
        expect(collateral).toBe(0);
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  it('move only to a replica that comes', () => {
    fc.assert(
      fc.property(someReplicas, (all) => {
        const come = all[0]!.id;
        const [before, after] = [new ReplicaSet(all.slice(1)), new ReplicaSet(all)];
        let elsewhere = 0;
        for (let n = 0; n < 200; n++) {
          const now = after.pick(...flowId(n));
          if (now !== come && now !== before.pick(...flowId(n))) elsewhere++;
        }
        expect(elsewhere).toBe(0);
      }),
      { seed: 3, numRuns: 100 },
    );
  });

  it('of ids that count up are spread as evenly as any', () => {
    const set = new ReplicaSet(replicas(1, 1, 1, 1));
    const all = Array.from({ length: FLOWS }, (_, n) => set.pick(0, n));
    for (const id of [1, 2, 3, 4]) expect(Math.abs(countOf(all, id) / FLOWS - 0.25)).toBeLessThan(0.03);
  });

  it('are placed the same on every machine', () => {
    // Figures that were computed once: ingresses of different versions must agree.
    const set = new ReplicaSet(replicas(1, 2, 3, 4, 5));
    expect(picks(set, 24).join('')).toBe('415443521244455443134522');
  });
});

describe('a path', () => {
  const sets = [replicas(1, 1, 1), replicas(1), replicas(2, 1)].map(
    (all, i) => new ReplicaSet(all.map((each) => ({ ...each, id: 10 * (i + 1) + each.id }))),
  );

  it('has a replica of each function, turned round on the way back', () => {
    const [there, back] = [new Uint16Array(3), new Uint16Array(3)];
    for (let n = 0; n < 100; n++) {
      expect(place(sets, ...flowId(n), there)).toBe(true);
      expect(place(sets.toReversed(), ...flowId(n), back)).toBe(true);
      expect([...back].reverse()).toEqual([...there]);
      expect(there[1]).toBe(21);
    }
  });

  it('is mended where a replica is gone, and only there', () => {
    const path = new Uint16Array(3);
    for (let n = 0; n < 100; n++) {
      place(sets, ...flowId(n), path);
      const before = [...path];
      const rest = [11, 12, 13].filter((id) => id !== path[0]);
      const left = new ReplicaSet(rest.map((id) => ({ id, weight: 1, state: 'ready' })));
      expect(mend([left, sets[1]!, sets[2]!], ...flowId(n), path)).toBe(1);
      expect(rest).toContain(path[0]);
      expect([...path.subarray(1)]).toEqual(before.slice(1));
      expect(mend([left, sets[1]!, sets[2]!], ...flowId(n), path)).toBe(0);
    }
  });

  it('keeps a draining replica, which gets no new flow', () => {
    const draining = new ReplicaSet([
      { id: 1, weight: 1, state: 'draining' },
      { id: 2, weight: 1, state: 'ready' },
    ]);
    expect([draining.ready, countOf(picks(draining, 1000), 2)]).toEqual([1, 1000]);
    const path = Uint16Array.of(1);
    expect([mend([draining], 1, 2, path), path[0]]).toEqual([0, 1]);
  });

  it('leaves the choice open where no replica is ready', () => {
    const path = new Uint16Array(2);
    expect(place([sets[1]!, new ReplicaSet([])], 1, 2, path)).toBe(false);
    expect([...path]).toEqual([21, 0]);
  });

  it('takes integer weights alone', () => {
    for (const weight of [0, 1.5, 65536, Number.NaN])
      expect(() => new ReplicaSet(replicas(weight))).toThrow('an integer from 1 to 65535');
  });
});

describe('the logarithm', () => {
  it('is right to 2^-18, and never grows with its argument by more', () => {
    const exact = (draw: number) => -Math.log2((draw + 1) / 2 ** 32) * 2 ** 20;
    let worst = 0;
    const check = (draw: number) => {
      worst = Math.max(worst, Math.abs(negativeLog2(draw) - exact(draw)));
    };
    for (let bit = 0; bit < 32; bit++)
      for (const near of [-2, -1, 0, 1]) if (2 ** bit + near >= 0) check(2 ** bit + near);
    for (let n = 0; n < 20_000; n++) check(Math.imul(n, 0x9e3779b1) >>> 0);
    expect(worst).toBeLessThan(4);
    expect([negativeLog2(0xffffffff), negativeLog2(0x7fffffff), negativeLog2(0)]).toEqual([
      0,
      2 ** 20,
      2 ** 25,
    ]);
  });
});
