/** The series of flows as a picture: goodput, round trip and congestion window over time. */
import { type Panel, plot } from './plot.ts';
import type { Sample, Series } from './series.ts';

export function seriesSvg({ samples }: Series, title: string): string {
  const panel = (name: string, y: string, value: (sample: Sample) => number, zero = false): Panel => ({
    title: `${title}: ${name}`,
    x: 'time (s)',
    y,
    lines: [...samples]
      .map(([flow, list], colour) => ({
        name: flow,
        colour,
        points: list
          .map((sample) => [sample.at / 1e9, value(sample)] as const)
          .filter(([, each]) => zero || each > 0),
      }))
      .filter(({ points }) => points.some(([, each]) => each > 0)),
  });
  const [goodput, ...others] = [
    panel('goodput', 'bit/s', ({ goodput }) => goodput, true),
    panel('round trip', 'ms', ({ rtt }) => rtt / 1e6),
    panel('congestion window', 'bytes', ({ cwnd }) => cwnd),
  ];
  // Without TCP there is no window.
  return plot([goodput!, ...others.filter(({ lines }) => lines.length > 0)]);
}
