/**
 * Loss recovery as tables: what the peer says and when, and what is sent upon that. RACK-TLP (RFC 8985), proportional rate reduction (RFC
 * 6937), limited transmit (RFC 3042), the timeout (RFC 6298) and taking a reduction back (RFC 3522). The round trip is 100 ms, the first
 * flight of ten segments leaves at 100 ms, and segments are counted from 1.
 */
import { describe, expect, it } from 'vitest';
import { type Said, type Script, type ScriptOptions, script } from './scripted.ts';

const MSS = 1448;
/** Where segment `n` starts, and so what an ACK of all before it says. */
const seq = (n: number) => 1 + (n - 1) * MSS;

interface Step {
  /** ms; time passes until then. */
  at: number;
  /** The peer acknowledges all segments up to this one; none: nothing is said. */
  ack?: number;
  /** First and last segment of each block. */
  sack?: [number, number][];
  /** Time stamp that is echoed: of a segment sent then (ms); default: now. */
  echo?: number;
  /** Segments that leave from the step before until now, after the peer has spoken. */
  sent: number[];
  /** Congestion window then, in segments. */
  cwnd?: number;
}

const numbers = (said: Said[]) =>
  said
    .filter(({ length }) => length > 0)
    .flatMap(({ seq: at, length }) => {
      expect(length % MSS === 0 && (at - 1) % MSS === 0, `${at}+${length}`).toBe(true);
      return Array.from({ length: length / MSS }, (_, i) => (at - 1) / MSS + 1 + i);
    });

/** Plays the steps after a first flight, and compares. */
function play(peer: Script, steps: Step[]): void {
  const base = peer.c.stampOffset + 1;
  for (const { at, ack, sack, echo, sent, cwnd } of steps) {
    peer.advance(at - peer.now());
    if (ack !== undefined) {
      peer.say({
        ack: seq(ack + 1),
        ...(sack && { sack: sack.map(([from, to]) => [seq(from), seq(to + 1)]) }),
        ...(echo !== undefined && { tsecr: (base + echo) >>> 0 }),
      });
    }
    expect({ at, sent: numbers(peer.said()) }).toEqual({ at, sent });
    if (cwnd !== undefined) expect({ at, cwnd: peer.c.figures().cwnd / MSS }).toEqual({ at, cwnd });
  }
}

async function flying(segments: number, options: ScriptOptions = {}): Promise<Script> {
  const peer = await script({ window: 65_535, ...options, tcp: { congestion: 'newreno', ...options.tcp } });
  peer.c.write(new Uint8Array(segments * MSS));
  peer.advance(0);
  expect(numbers(peer.said())).toEqual(Array.from({ length: Math.min(10, segments) }, (_, i) => i + 1));
  return peer;
}

describe('proportional rate reduction', () => {
  it('sends one segment for every two that arrive, down to half of the window', async () => {
    await using peer = await flying(100);
    play(peer, [
      // Two ACKs of something else: one new segment each (RFC 3042).
      { at: 200, ack: 0, sack: [[2, 2]], sent: [11], cwnd: 10 },
      { at: 201, ack: 0, sack: [[2, 3]], sent: [12], cwnd: 10 },
      // The third: the first segment again, whatever the window.
      { at: 202, ack: 0, sack: [[2, 4]], sent: [1] },
      { at: 203, ack: 0, sack: [[2, 5]], sent: [] },
      { at: 204, ack: 0, sack: [[2, 6]], sent: [] },
      { at: 205, ack: 0, sack: [[2, 7]], sent: [13] },
      { at: 206, ack: 0, sack: [[2, 8]], sent: [] },
      // Five are under way: the threshold. From here on as many leave as arrive.
      { at: 207, ack: 0, sack: [[2, 9]], sent: [], cwnd: 5 },
      { at: 208, ack: 0, sack: [[2, 10]], sent: [14], cwnd: 5 },
      { at: 300, ack: 0, sack: [[2, 11]], sent: [15], cwnd: 5 },
      { at: 301, ack: 0, sack: [[2, 12]], sent: [16], cwnd: 5 },
      { at: 302, ack: 12, sent: [17], cwnd: 5 },
    ]);
    expect(peer.c.figures()).toMatchObject({ recoveries: 1, retransmissions: 1, timeouts: 0 });
  });

  it('after many losses sends as in slow start, up to half of the window', async () => {
    await using peer = await flying(100);
    play(peer, [
      // Seven of ten are lost. Three that arrive at once say so.
      { at: 200, ack: 0, sack: [[8, 10]], sent: [1, 2, 3] },
      // A part arrives: what arrives leaves, and one more (the slow start bound).
      { at: 300, ack: 1, sack: [[8, 10]], sent: [4, 5] },
      { at: 301, ack: 2, sack: [[8, 10]], sent: [6, 7] },
      { at: 302, ack: 3, sack: [[8, 10]], sent: [11] },
      { at: 400, ack: 4, sack: [[8, 10]], sent: [12], cwnd: 5 },
      { at: 401, ack: 10, sent: [13, 14, 15], cwnd: 5 },
    ]);
    expect(peer.c.figures()).toMatchObject({ recoveries: 1, retransmissions: 7, timeouts: 0 });
  });
});

describe('RACK', () => {
  it('gives what may be reordered a quarter of the round trip', async () => {
    await using peer = await flying(10);
    play(peer, [
      { at: 200, ack: 0, sack: [[2, 2]], sent: [] },
      { at: 224, sent: [] },
      { at: 225, sent: [1] },
    ]);
    expect(peer.c.figures().recoveries).toBe(1);
  });

  it('takes nothing for lost that comes within that', async () => {
    await using peer = await flying(10);
    play(peer, [
      { at: 200, ack: 0, sack: [[2, 2]], sent: [] },
      { at: 224, ack: 3, sent: [] },
      { at: 250, ack: 10, sent: [] },
    ]);
    expect(peer.c.figures()).toMatchObject({ recoveries: 0, retransmissions: 0 });
  });

  it('waits longer after it was told that something was only late', async () => {
    await using peer = await flying(100);
    play(peer, [
      { at: 200, ack: 0, sack: [[2, 4]], sent: [1] },
      // The first copy: taken back, which doubles the window. Then the second: a DSACK, a quarter more.
      { at: 210, ack: 10, echo: 100, sent: Array.from({ length: 20 }, (_, i) => 11 + i), cwnd: 20 },
      { at: 300, ack: 10, sack: [[1, 1]], sent: [] },
      // 11 and 12 left at 210, and 12 took 100 ms: three quarters of that are waited for.
      { at: 310, ack: 10, sack: [[12, 12]], sent: [31] },
      { at: 384, sent: [] },
      { at: 385, sent: [11] },
    ]);
  });

  it('finds a retransmission lost, by what left after it', async () => {
    await using peer = await flying(100);
    play(peer, [
      { at: 200, ack: 0, sack: [[2, 4]], sent: [1] },
      { at: 204, ack: 0, sack: [[2, 8]], sent: [11, 12] },
      { at: 300, ack: 0, sack: [[2, 10]], sent: [13, 14] },
      // 11 left at 204, later than the first again, and is here sooner.
      { at: 304, ack: 0, sack: [[2, 11]], sent: [1, 15] },
      { at: 404, ack: 15, sent: [16, 17, 18, 19, 20], cwnd: 5 },
    ]);
    expect(peer.c.figures()).toMatchObject({ recoveries: 1, retransmissions: 2, timeouts: 0 });
  });
});

describe('a probe for a lost tail', () => {
  it('is the last segment again, after two round trips', async () => {
    await using peer = await flying(5);
    play(peer, [
      { at: 301, sent: [] },
      { at: 302, sent: [5] },
      // It tells of all that is missing, without a timeout.
      { at: 402, ack: 0, sack: [[5, 5]], sent: [1] },
      { at: 502, ack: 1, sack: [[5, 5]], sent: [2, 3] },
      { at: 602, ack: 3, sack: [[5, 5]], sent: [4] },
      { at: 702, ack: 5, sent: [] },
    ]);
    expect(peer.c.figures()).toMatchObject({ timeouts: 0, retransmissions: 5, recoveries: 1 });
  });

  it('is new data where there is some', async () => {
    await using peer = await flying(20);
    play(peer, [
      { at: 301, sent: [] },
      { at: 302, sent: [11] },
      { at: 402, ack: 0, sack: [[11, 11]], sent: [1] },
    ]);
  });

  it('waits for a delayed ACK when one segment is under way, but no longer than the timeout', async () => {
    await using peer = await flying(1);
    // RTO: 100 + 4 * 50 ms.
    play(peer, [
      { at: 399, sent: [] },
      { at: 400, sent: [1] },
      { at: 699, sent: [] },
      { at: 700, sent: [1] },
    ]);
    expect(peer.c.figures()).toMatchObject({ timeouts: 1 });
  });

  it('whose own segment was the only loss takes the window down', async () => {
    await using peer = await flying(10);
    play(peer, [
      { at: 200, ack: 9, sent: [], cwnd: 10 },
      // RTO: 100 + 4 * 37.5 ms.
      { at: 449, sent: [] },
      { at: 450, sent: [10] },
      { at: 550, ack: 10, sent: [] },
    ]);
    // A second ACK would say that there were two of it (RFC 8985, 7.4). There is none, as the next one says.
    expect(peer.c.figures().ssthresh).toBeGreaterThan(1e6);
    peer.c.write(new Uint8Array(4 * MSS));
    play(peer, [
      { at: 560, sent: [11, 12, 13, 14], cwnd: 10 },
      { at: 660, ack: 12, sent: [], cwnd: 2 },
    ]);
  });

  it('whose own segment was there already takes nothing', async () => {
    await using peer = await flying(10);
    play(peer, [
      { at: 200, ack: 9, sent: [] },
      { at: 450, sent: [10] },
      { at: 500, ack: 10, sent: [] },
      { at: 550, ack: 10, sent: [] },
    ]);
    peer.c.write(new Uint8Array(4 * MSS));
    play(peer, [
      { at: 560, sent: [11, 12, 13, 14], cwnd: 10 },
      { at: 660, ack: 12, sent: [], cwnd: 10 },
    ]);
  });
});

describe('a timeout', () => {
  it('takes everything for lost, and begins with one segment; twice the time for each more', async () => {
    await using peer = await flying(10);
    play(peer, [
      // The probe, and the timeout that counts from it.
      { at: 302, sent: [10] },
      { at: 601, sent: [] },
      { at: 602, sent: [1], cwnd: 1 },
      { at: 1201, sent: [] },
      { at: 1202, sent: [1], cwnd: 1 },
      { at: 1302, ack: 1, sent: [2, 3], cwnd: 2 },
      { at: 1402, ack: 3, sent: [4, 5, 6, 7], cwnd: 4 },
    ]);
    expect(peer.c.figures()).toMatchObject({ timeouts: 2, ssthresh: 5 * MSS });
  });

  it('that was only a long way is taken back (RFC 3522)', async () => {
    await using peer = await flying(10);
    play(peer, [
      { at: 602, sent: [10, 1], cwnd: 1 },
      // The ACK is of the first transmission: its time stamp says so.
      { at: 650, ack: 1, echo: 100, sent: [], cwnd: 11 },
      { at: 700, ack: 10, sent: [] },
    ]);
    expect(peer.c.figures()).toMatchObject({ timeouts: 1, undone: 1, recoveries: 0 });
    expect(peer.c.figures().ssthresh).toBeGreaterThan(1e6);
  });
});

describe('without SACK', () => {
  it('three duplicates, partial ACKs, and deflation (RFC 6582)', async () => {
    await using peer = await flying(100, { sack: false });
    play(peer, [
      { at: 200, ack: 0, sent: [11] },
      { at: 201, ack: 0, sent: [12] },
      { at: 202, ack: 0, sent: [1] },
      // Of what was lost a second one is known only now.
      { at: 302, ack: 4, sent: [5] },
      { at: 402, ack: 12, sent: [13, 14, 15, 16, 17], cwnd: 5 },
    ]);
    expect(peer.c.figures()).toMatchObject({ recoveries: 1, retransmissions: 2, timeouts: 0 });
  });
});
