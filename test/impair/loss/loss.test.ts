import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stationary } from '../../../src/impair/loss/four-state.ts';
import { parseStages } from '../../../src/impair/spec/text.ts';
import { ecnOf } from '../../../src/packet/ecn.ts';
import { Ecn } from '../../../src/packet/protocol.ts';
import { Verdict, verifyTransport } from '../../../src/packet/transport.ts';
import { Drive, datagram, type StageInput } from '../drive.ts';

const N = 1_000_000;
/** Standard deviations of a normal distribution that hold 99.9 %. */
const Z = 3.29;

/** 1 for each packet that was lost. */
function losses(text: string, n = N, seed = 1): Uint8Array {
  const drive = new Drive(parseStages(text) as StageInput[], { seed });
  const seen = drive.many(n);
  expect(drive.dropped()).toBe(n - seen.reduce((sum, v) => sum + v, 0));
  return seen.map((times) => 1 - times);
}

const share = (lost: Uint8Array) => lost.reduce((sum, v) => sum + v, 0) / lost.length;

function lag1(lost: Uint8Array): number {
  const p = share(lost);
  let both = 0;
  for (let i = 1; i < lost.length; i++) both += (lost[i] - p) * (lost[i - 1] - p);
  return both / (lost.length * p * (1 - p));
}

/** How many runs of losses had each length. */
function runs(lost: Uint8Array): number[] {
  const found: number[] = [];
  let run = 0;
  for (const each of lost) {
    if (each) run++;
    else if (run > 0) {
      found[run] = (found[run] ?? 0) + 1;
      run = 0;
    }
  }
  return Array.from(found, (count) => count ?? 0);
}

/** A share within its 99.9 % interval, of draws whose neighbours correlate by `correlation` (an AR(1) law). */
function expectShare(lost: Uint8Array, p: number, correlation = 0): void {
  const variance = (p * (1 - p) * ((1 + correlation) / (1 - correlation))) / lost.length;
  expect(Math.abs(share(lost) - p)).toBeLessThan(Z * Math.sqrt(variance));
}

/** Chi-square of run lengths against a geometric distribution that goes on with `more`; degrees of freedom with it. */
function chiSquare(found: number[], more: number): { value: number; degrees: number } {
  const total = found.reduce((sum, v) => sum + v, 0);
  let value = 0;
  let degrees = -1;
  let rest = total;
  let expectedRest = total;
  for (let length = 1; expectedRest * more > 20; length++) {
    const expected = expectedRest * (1 - more);
    value += ((found[length] ?? 0) - expected) ** 2 / expected;
    rest -= found[length] ?? 0;
    expectedRest *= more;
    degrees++;
  }
  value += (rest - expectedRest) ** 2 / expectedRest;
  return { value, degrees: degrees + 1 };
}

/** 99.9 % of chi-square, by Wilson and Hilferty. */
const limit = (degrees: number) =>
  degrees * (1 - 2 / (9 * degrees) + 3.09 * Math.sqrt(2 / (9 * degrees))) ** 3;

describe('random loss', () => {
  it.each([
    ['1%', 0.01],
    ['10%', 0.1],
  ])('loses the share asked for: %s', (text, p) => {
    const lost = losses(`loss ${text}`);
    expectShare(lost, p);
    expect(Math.abs(lag1(lost))).toBeLessThan(Z / Math.sqrt(N));
  });

  it.each([
    ['1% 25%', 0.01, 0.25],
    ['10% 50%', 0.1, 0.5],
    ['5% 90%', 0.05, 0.9],
  ])('has both the share and the correlation asked for: %s', (text, p, correlation) => {
    const lost = losses(`loss random ${text}`);
    expectShare(lost, p, correlation);
    expect(Math.abs(lag1(lost) - correlation)).toBeLessThan(0.02);
  });

  it('loses nothing at 0 and everything at 100%', () => {
    expect(share(losses('loss 0%', 10_000))).toBe(0);
    expect(share(losses('loss 100%', 10_000))).toBe(1);
  });

  it('has the arithmetic of netem where that is asked for, and then far fewer losses', () => {
    expect(share(losses('loss random 1% 25% compat netem'))).toBeLessThan(0.00001);
    // Simulated elsewhere with the kernel's formula: 0.19 %, 1.76 %.
    expect(share(losses('loss random 5% 25% compat netem'))).toBeCloseTo(0.0019, 3);
    expect(share(losses('loss random 10% 25% compat netem'))).toBeCloseTo(0.0176, 3);
  });
});

describe('Gilbert-Elliott loss', () => {
  it.each([
    ['1% 10%', 0.01, 0.1, 1, 0],
    ['2% 30% 70% 0.5%', 0.02, 0.3, 0.7, 0.005],
    ['5%', 0.05, 0.95, 1, 0],
  ])('loses the share that its parameters make: %s', (text, p, r, lossBad, lossGood) => {
    const bad = p / (p + r);
    const P = bad * lossBad + (1 - bad) * lossGood;
    const more = 1 - p - r;
    const variance =
      (P * (1 - P) + (2 * bad * (1 - bad) * (lossBad - lossGood) ** 2 * more) / (1 - more)) / N;
    expect(Math.abs(share(losses(`loss gemodel ${text}`)) - P)).toBeLessThan(Z * Math.sqrt(variance));
  });

  it('has bursts of geometric length', () => {
    const found = runs(losses('loss gemodel 10% 25%'));
    const { value, degrees } = chiSquare(found, 0.75);
    expect(degrees).toBeGreaterThan(10);
    expect(value).toBeLessThan(limit(degrees));
  });

  it('as `burst` loses the share asked for, in bursts of the mean length asked for', () => {
    const lost = losses('loss burst 10% 5');
    const found = runs(lost);
    const bursts = found.reduce((sum, v) => sum + v, 0);
    const mean = found.reduce((sum, v, length) => sum + v * length, 0) / bursts;
    // 20 000 bursts, of which the mean's deviation is 0.63 %.
    expect(Math.abs(mean / 5 - 1)).toBeLessThan(0.03);
    expectShare(lost, 0.1, 1 - 1 / 5 - 0.1 / (5 * 0.9));
    const { value, degrees } = chiSquare(found, 0.8);
    expect(value).toBeLessThan(limit(degrees));
  });

  it('begins as it is in the long run: the first packets of flows are lost like all others', () => {
    const drive = new Drive(parseStages('loss gemodel 1% 3%') as StageInput[], { flows: 5000 });
    for (let port = 1; port <= 4000; port++) drive.send(port, drive.packet(datagram(port)));
    expect(Math.abs(drive.dropped() - 1000)).toBeLessThan(Z * Math.sqrt(4000 * 0.25 * 0.75));
  });
});

/**
 * N times the variance of the share of losses among N packets: the losses' covariances over all distances, summed by following the
 * chain from each lossy state until it has forgotten where it began.
 */
function varianceOf({
  p13,
  p31,
  p32,
  p23,
  p14,
}: Record<'p13' | 'p31' | 'p32' | 'p23' | 'p14', number>): number {
  const steps = [
    [1 - p13 - p14, 0, p13, p14],
    [0, 1 - p23, p23, 0],
    [p31, p32, 1 - p31 - p32, 0],
    [1, 0, 0, 0],
  ];
  const long = stationary({ p13, p31, p32, p23, p14 });
  const P = long[2] + long[3];
  let variance = P * (1 - P);
  for (const from of [2, 3]) {
    let now: number[] = [0, 1, 2, 3].map((state) => (state === from ? 1 : 0));
    for (let distance = 1; distance < 1000; distance++) {
      now = [0, 1, 2, 3].map((to) => now.reduce((sum, p, state) => sum + p * steps[state][to], 0));
      variance += 2 * long[from] * (now[2] + now[3] - P);
    }
  }
  return variance;
}

describe('loss of four states', () => {
  const chances = { p13: 0.02, p31: 0.2, p32: 0.3, p23: 0.4, p14: 0.01 };

  it('loses the share of the closed form', () => {
    const { p13, p31, p32, p23, p14 } = chances;
    const x = p13 / p31;
    const P = (x + p14) / (1 + x + (x * p32) / p23 + p14);
    const [, , s3, s4] = stationary(chances);
    expect(s3 + s4).toBeCloseTo(P, 12);
    const lost = losses('loss state p13 2% p31 20% p32 30% p23 40% p14 1%');
    expect(Math.abs(share(lost) - P)).toBeLessThan(Z * Math.sqrt(varianceOf(chances) / N));
  });

  it('has lost runs that end as often as states 3 and 4 do', () => {
    // Without states 2 and 4 it is Gilbert's model.
    const { value, degrees } = chiSquare(runs(losses('loss state p13 10% p31 25%')), 0.75);
    expect(value).toBeLessThan(limit(degrees));
    // Without 2 and 3 there are single losses alone.
    const alone = runs(losses('loss state p13 0% p14 10%', 100_000));
    expect(alone).toHaveLength(2);
  });

  it('begins as it is in the long run', () => {
    const text = 'loss state p13 2% p31 20% p32 30% p23 40% p14 1%';
    const drive = new Drive(parseStages(text) as StageInput[], { flows: 5000 });
    for (let port = 1; port <= 4000; port++) drive.send(port, drive.packet(datagram(port)));
    const [, , s3, s4] = stationary(chances);
    const P = s3 + s4;
    expect(Math.abs(drive.dropped() / 4000 - P)).toBeLessThan(Z * Math.sqrt((P * (1 - P)) / 4000));
  });
});

describe('exact losses', () => {
  const lostNumbers = (text: string, n = 20) => {
    const lost = losses(text, n);
    return Array.from(lost.keys()).filter((i) => lost[i]);
  };

  it('are those of a list: numbers of packets from 1, and ranges', () => {
    expect(lostNumbers('loss list 9-11,1,3-4,10-12,19-')).toEqual([0, 2, 3, 8, 9, 10, 11, 18, 19]);
  });

  it('are those of a pattern, over and over', () => {
    expect(lostNumbers('loss pattern ..x.', 13)).toEqual([2, 6, 10]);
  });

  it('are numbered in each flow, or on the whole link', () => {
    const run = (scope: string) => {
      const drive = new Drive(parseStages(`loss list 2 scope ${scope}`) as StageInput[]);
      for (let i = 0; i < 4; i++) drive.send(i, drive.packet(datagram(i % 2)));
      return drive.dropped();
    };
    expect([run('flow'), run('link')]).toEqual([2, 1]);
  });

  it('have a longest run if one is given', () => {
    expect(Math.max(...runs(losses('loss 60%', 10_000)).keys())).toBeGreaterThan(3);
    expect(lostNumbers('loss list 1- maxRun 3', 9)).toEqual([0, 1, 2, 4, 5, 6, 8]);
  });
});

describe('loss with ecn', () => {
  it('marks what says it understands, drops what does not', () => {
    const drive = new Drive(parseStages('loss 100% ecn') as StageInput[]);
    for (const ecn of [Ecn.NotEct, Ecn.Ect0, Ecn.Ect1, Ecn.Ce])
      drive.send(0, drive.packet(datagram(1, 9, ecn)));
    expect(drive.left.map(({ bytes }) => ecnOf(bytes, 0))).toEqual([Ecn.Ce, Ecn.Ce, Ecn.Ce]);
    expect(drive.left.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect([drive.dropped(), drive.stage().details()]).toEqual([1, { marked: 3 }]);
  });

  it('does not write to bytes that another packet shares', () => {
    const drive = new Drive(parseStages('loss 100% ecn') as StageInput[]);
    const packet = drive.packet(datagram(1, 9, Ecn.Ect0));
    const other = drive.pool.clone(packet);
    drive.send(0, packet);
    expect(ecnOf(drive.pool.copyOut(other), 0)).toBe(Ecn.Ect0);
  });
});

describe('a superframe', () => {
  const texts = [
    'loss 20%',
    'loss 20% 50%',
    'loss 10% 25% compat netem',
    'loss gemodel 20% 30% 80% 5%',
    'loss state p13 20% p31 30% p32 20% p14 5%',
    'loss burst 20% 3 maxRun 2',
    'loss list 2-4,9,30-',
    'loss pattern x..xx scope link',
    'loss 30% scope link ecn',
  ];

  it('loses the same segments as the same packets one by one, and the others arrive whole', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...texts),
        fc.array(
          fc.record({ segments: fc.integer({ min: 1, max: 44 }), port: fc.integer({ min: 1, max: 3 }) }),
          {
            minLength: 1,
            maxLength: 6,
          },
        ),
        fc.integer({ min: 0, max: 1000 }),
        fc.boolean(),
        (text, shapes, seed, v6) => {
          const run = (whole: boolean) => {
            const drive = new Drive(parseStages(text) as StageInput[], { seed });
            for (const { segments, port } of shapes) {
              if (whole) drive.send(0, drive.superframe({ segments, port, v6, ecn: Ecn.Ect0 }));
              else
                for (let s = 0; s < segments; s++)
                  drive.send(0, drive.superframe({ segments: 1, port, v6, ecn: Ecn.Ect0 }));
            }
            const names = drive.left.flatMap(({ hash, number, segments, bytes }) => {
              if (segments === 1) expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
              return Array.from({ length: segments }, (_, s) => `${hash} ${number + s} ${ecnOf(bytes, 0)}`);
            });
            expect(drive.close()).toBe(0);
            return names;
          };
          expect(run(true)).toEqual(run(false));
        },
      ),
      { seed: 7, numRuns: 200 },
    );
  });
});

describe('what cannot be', () => {
  it.each([
    ['loss state p13 60% p14 50%', 'p13 + p14'],
    ['loss state p13 10% p31 80% p32 30%', 'p31'],
    ['loss state p13 10% p31 50% p32 30% p23 0%', 'p23'],
    ['loss burst 90% 2', 'length'],
    ['loss list 0', 'from 1'],
    ['loss list 5-4', 'from 1'],
    ['loss pattern abc', 'expected'],
  ])('is refused: %s', (text, message) => {
    expect(() => new Drive(parseStages(text) as StageInput[])).toThrow(message);
  });
});
