import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeFrames, encodeFrame, joinBytes } from '../../../src/chain/roulette/embedded/frame.ts';

const values = fc.array(
  fc.json({ maxDepth: 2 }).map((text) => JSON.parse(text)),
  { minLength: 1, maxLength: 5 },
);
const runs = { seed: 5, numRuns: 500 };

describe('frames', () => {
  it('that are whole are read as they were written', () => {
    fc.assert(
      fc.property(values, (written) => {
        const bytes = joinBytes(written.map(encodeFrame));
        expect(decodeFrames(bytes)).toEqual({ values: written, length: bytes.length, spoilt: false });
      }),
      runs,
    );
  });

  it('cut at any byte, with zeros behind or without, end before the one that was cut', () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.nat(40), (written, cut, zeros) => {
        const frames = written.map(encodeFrame);
        const bytes = joinBytes(frames);
        const length = cut % (bytes.length + 1);
        const torn = joinBytes([bytes.slice(0, length), new Uint8Array(zeros)]);
        let whole = 0;
        let end = 0;
        while (whole < frames.length && end + frames[whole].length <= length) end += frames[whole++].length;
        // Zeros may stand for zeros that were there.
        const found = decodeFrames(torn);
        if (found.length === end) {
          expect(found).toEqual({ values: written.slice(0, whole), length: end, spoilt: false });
        } else expect(found.values).toEqual(written.slice(0, whole + 1));
      }),
      runs,
    );
  });

  it('with one bit turned are read up to there, and known to be spoilt when others follow', () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.nat(7), (written, place, bit) => {
        const frames = written.map(encodeFrame);
        const bytes = joinBytes(frames);
        const at = place % bytes.length;
        bytes[at] ^= 1 << bit;
        let hit = 0;
        let start = 0;
        while (start + frames[hit].length <= at) start += frames[hit++].length;
        expect(decodeFrames(bytes)).toEqual({
          values: written.slice(0, hit),
          length: start,
          spoilt: hit < frames.length - 1,
        });
      }),
      runs,
    );
  });

  it('of any bytes at all are read without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(decodeFrames(bytes).length).toBeLessThanOrEqual(bytes.length);
      }),
      runs,
    );
  });
});
