/** What servers are tested with: wire packets in and out by their times, and superframes beside the wire packets they stand for. */
import { Drive, type DriveOptions, datagram, type StageInput } from './drive.ts';

/** TCP packets come at these times, each as a superframe of so many segments, of one of a few flows. */
export interface Arrival {
  at: number;
  segments: number;
  port: number;
  size?: number;
  ecn?: number;
}

/** What became of each wire packet of each flow: when it left, or nothing. */
export function fates(
  stages: StageInput,
  arrivals: readonly Arrival[],
  { whole, ...options }: DriveOptions & { whole: boolean },
): { fates: Map<string, { at: number; ecn: number }>; dropped: number; leaked: number; left: number } {
  const drive = new Drive(stages, options);
  for (const { at, segments, port, size = 1000, ecn = 0 } of arrivals) {
    if (whole) drive.send(at, drive.superframe({ segments, size, port, ecn }));
    else
      drive.send(
        at,
        ...Array.from({ length: segments }, () => drive.superframe({ segments: 1, size, port, ecn })),
      );
  }
  drive.advance((arrivals.at(-1)?.at ?? 0) + 1e12);
  const found = new Map<string, { at: number; ecn: number }>();
  for (const { hash, number, segments, at, bytes } of drive.left)
    for (let s = 0; s < segments; s++) found.set(`${hash}/${number + s}`, { at, ecn: bytes[1] & 3 });
  return { fates: found, dropped: drive.dropped(), leaked: drive.close(), left: drive.left.length };
}

/** When each of `sizes` (bytes of UDP payload, all at time 0) leaves: ns. */
export function departures(stages: StageInput, sizes: readonly number[], at = 0): number[] {
  const drive = new Drive(stages);
  drive.send(at, ...sizes.map((size) => drive.packet(datagram(1000, size))));
  drive.advance(1e15);
  return drive.left.map((departure) => departure.at);
}

/** Numbers that look random and are the same every time: 0 .. 1. */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 4294967296;
  };
}
