import { describe, expect, it } from 'vitest';
import { chart } from '../../bench/harness/chart.ts';
import { resultOf } from './result.ts';

/** Widths of the bars from top to bottom. */
const widths = (svg: string) =>
  [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map((found) => Number(found[1]));

describe('the chart', () => {
  const result = resultOf({
    'TCP v4': { 'plain veth': [20e9, 22e9, 21e9], 'ours, worker': [14e9], 'C & co': [10.5e9] },
    'UDP 64 B': { 'ours, worker': [300_000], socat: [75_000] },
  });

  it('has a bar for every subject, the largest first, as long as the median', () => {
    const [veth, ours, c, oursUdp, socat] = widths(chart(result));
    expect(ours! / veth!).toBeCloseTo(14 / 21, 2);
    expect(c! / veth!).toBeCloseTo(0.5, 2);
    expect(oursUdp).toBe(veth);
    expect(socat! / oursUdp!).toBeCloseTo(0.25, 2);
  });

  it('writes the figures, and ours in a colour of their own', () => {
    const svg = chart(result);
    for (const figure of ['21.00', '14.00', '10.50', '300', '75']) expect(svg).toContain(`>${figure}</text>`);
    expect(svg.match(/class="ours"/g)).toHaveLength(2);
    expect(svg.match(/>tunconnector, worker<\/text>/g)).toHaveLength(2);
    expect(svg).toContain('prefers-color-scheme: dark');
  });

  it('is well formed whatever subjects and processors are called', () => {
    const svg = chart(result);
    expect(svg).toContain('C &amp; co');
    expect(svg).toContain('Z80 &lt;fast&gt;');
    expect(svg.match(/<text\b/g)).toHaveLength(svg.match(/<\/text>/g)!.length);
  });

  it('does without what was not measured, and refuses to be empty', () => {
    expect(widths(chart(resultOf({ 'TCP v4': { ours: [1, Number.NaN], C: [Number.NaN] } })))).toHaveLength(1);
    expect(() => chart(resultOf({}))).toThrow('nothing to draw');
  });
});
