import { describe, expect, it } from 'vitest';
import { superframeLimit } from '../../src/tunnel/connector/superframes.ts';

/** As `tcp_xmit_size_goal` and `sk_dst_gso_max_size` of Linux count. */
const segmentsOf = (limit: number, segment: number) => Math.floor((limit - 321) / segment);

describe('the limit of superframes', () => {
  it.each([
    [1420, 0, 46],
    [1472, 0, 44],
    [1452, 0, 45],
    [1456, 16, 44],
    [1280, 0, 51],
    [9000, 0, 7],
    [576, 0, 64],
  ])(
    'at an MTU of %i with %i bytes of framing lets TCP make superframes of %i segments',
    (mtu, framing, n) => {
      const limit = superframeLimit(mtu, framing);
      expect(segmentsOf(limit, mtu - 52)).toBe(n);
      // IPv6 with timestamps, IPv4 and IPv6 without.
      for (const headers of [72, 40, 60]) {
        const segments = segmentsOf(limit, mtu - headers);
        expect(segments * (mtu + framing)).toBeLessThanOrEqual(65_507);
        expect(segments).toBeGreaterThanOrEqual(Math.floor(n * 0.97));
      }
    },
  );

  it('is never above what Linux takes for IPv4, nor below one packet', () => {
    expect(superframeLimit(65_535, 0)).toBe(65_536);
    expect(superframeLimit(65_507, 0)).toBe(65_536);
    expect(superframeLimit(68, 0)).toBeGreaterThanOrEqual(68);
  });
});
