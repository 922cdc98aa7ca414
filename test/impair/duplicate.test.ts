import { describe, expect, it } from 'vitest';
import { parseStages } from '../../src/impair/spec/text.ts';
import { Drive, datagram, type StageInput } from './drive.ts';

const drive = (text: string) => new Drive(parseStages(text) as StageInput[]);

describe('duplicate', () => {
  it('doubles the share of packets asked for, with the correlation asked for', () => {
    const n = 300_000;
    const twice = drive('duplicate 5% 40%')
      .many(n)
      .map((times) => times - 1);
    const p = twice.reduce((sum, v) => sum + v, 0) / n;
    const spread = (0.05 * 0.95 * 1.4) / 0.6;
    expect(Math.abs(p - 0.05)).toBeLessThan(3.29 * Math.sqrt(spread / n));
    let both = 0;
    for (let i = 1; i < n; i++) both += twice[i] & twice[i - 1];
    expect(Math.abs((both / n - p * p) / (p * (1 - p)) - 0.4)).toBeLessThan(0.02);
  });

  it('puts the copy directly behind its original, bytes and all', () => {
    const d = drive('duplicate 100%');
    d.send(0, d.packet(datagram(1)), d.packet(datagram(2)));
    expect(d.left.map(({ copy }) => copy)).toEqual([false, true, false, true]);
    expect(d.left[1].bytes).toEqual(d.left[0].bytes);
    expect([d.close(), d.stage().details()]).toEqual([0, { copies: 2, missed: 0 }]);
  });

  it.each(['flow', 'link'])('is decided for anew by the stages behind, draws by %s', (scope) => {
    const n = 20_000;
    const seen = drive(`duplicate 100% loss 50% scope ${scope}`).many(n);
    // Each of both is lost on its own: none, one, two arrive as 1 : 2 : 1.
    for (const [times, p] of [
      [0, 0.25],
      [1, 0.5],
      [2, 0.25],
    ]) {
      const found = seen.filter((v) => v === times).length / n;
      expect(Math.abs(found - p)).toBeLessThan(3.29 * Math.sqrt((p * (1 - p)) / n));
    }
  });

  it('changes nothing for the originals that the stages behind decide about', () => {
    const lost = (text: string) => {
      const d = drive(text);
      for (let i = 0; i < 200; i++) d.send(i, d.packet());
      return d.left.filter(({ copy }) => !copy).map(({ number }) => number);
    };
    expect(lost('duplicate 30% loss 30%')).toEqual(lost('loss 30%'));
  });

  it('copies of two stages are told apart', () => {
    const seen = drive('duplicate 100% name a duplicate 100% name b loss 50%').many(20_000);
    // Four that are lost each on its own: all four arrive once in sixteen.
    const all = seen.filter((times) => times === 4).length / 20_000;
    expect(Math.abs(all - 1 / 16)).toBeLessThan(3.29 * Math.sqrt(15 / 256 / 20_000));
  });

  it('doubles the same segments of a superframe as of the same packets one by one', () => {
    const run = (whole: boolean) => {
      const d = drive('duplicate 30%');
      if (whole) d.send(0, d.superframe({ segments: 40 }));
      else for (let s = 0; s < 40; s++) d.send(0, d.superframe({ segments: 1 }));
      return d.left.flatMap(({ number, segments, copy }) =>
        Array.from({ length: segments }, (_, s) => `${number + s} ${copy}`),
      );
    };
    expect(run(true)).toEqual(run(false));
    expect(run(true).length).toBeGreaterThan(45);
  });
});
