import { expect, it } from 'vitest';
import { Draws } from '../../../src/impair/draw.ts';
import { Drive, datagram } from '../drive.ts';
import { numbers } from '../served.ts';

/**
 * RFC 8033, sections 4 and 5.4 and 5.5, in seconds and plain variables, with a clock that steps from one event to the next. 1000 bytes take
 * 1 ms. Returns the numbers of the packets that are dropped.
 */
function model(arrivals: readonly number[], random: (packet: number) => number): number[] {
  const T = 0.015;
  const REF = 0.015;
  let [dropProb, delay, oldDelay, burst, accu, update] = [0, 0, 0, 0.15, 0, 0];
  const queue: number[] = [];
  const dropped: number[] = [];
  let busyUntil = 0;
  let serving = false;
  const calculate = () => {
    let p = 0.125 * (delay - REF) + 1.25 * (delay - oldDelay);
    const steps: [number, number][] = [
      [1e-6, 2048],
      [1e-5, 512],
      [1e-4, 128],
      [1e-3, 32],
      [1e-2, 8],
      [0.1, 2],
    ];
    p /= steps.find(([below]) => dropProb < below)?.[1] ?? 1;
    if (dropProb >= 0.1 && p > 0.02) p = 0.02;
    dropProb += p;
    if (delay === 0 && oldDelay === 0) dropProb *= 0.98;
    dropProb = Math.min(1, Math.max(0, dropProb));
    burst = Math.max(0, burst - T);
    if (dropProb === 0 && delay < REF / 2 && oldDelay < REF / 2) burst = 0.15;
    oldDelay = delay;
  };
  const updates = (now: number) => {
    for (; update <= now; update += 15_000_000) calculate();
  };
  const serve = (now: number) => {
    updates(now);
    const next = queue.shift();
    serving = next !== undefined;
    if (next === undefined) return;
    delay = queue.length === 0 ? 0 : (now - arrivals[next]) / 1e9;
    busyUntil = now + 1_000_000;
  };
  const dropEarly = (packet: number) => {
    if (dropProb === 0) accu = 0;
    if ((oldDelay < REF / 2 && dropProb < 0.2) || queue.length * 1000 <= 3000) return false;
    accu += dropProb;
    if (accu < 0.85) return false;
    if (accu < 8.5 && random(packet) >= dropProb) return false;
    accu = 0;
    return true;
  };
  for (const [packet, now] of arrivals.entries()) {
    while (serving && busyUntil <= now) serve(busyUntil);
    updates(now);
    if (burst === 0 && dropEarly(packet)) dropped.push(packet);
    else queue.push(packet);
    if (!serving) serve(now);
  }
  return dropped;
}

it('pie drops the packets that the RFC’s pseudo code drops', () => {
  const random = numbers(11);
  const arrivals: number[] = [];
  // Calm and crowded seconds in turns, so that the probability rises and falls to nothing.
  for (let at = 0; at < 6e9; at += (Math.floor(at / 1e9) % 2 === 0 ? 1.1e6 : 4e6) * random())
    arrivals.push(Math.floor(at));
  const drive = new Drive({ kind: 'rate', rate: '8mbit', queue: { discipline: 'pie' } }, { seed: 5 });
  for (const at of arrivals) drive.send(at, drive.packet(datagram(1, 972)));
  drive.advance(1e12);
  const left = new Set(drive.left.map(({ number }) => number));
  const dropped = arrivals.map((_, i) => i).filter((i) => !left.has(i));
  const draws = Draws.named(5, 'up/test/rate/pie');
  const { hash } = drive.left[0];
  expect(dropped.length).toBeGreaterThan(200);
  expect(dropped).toEqual(model(arrivals, (packet) => draws.at(hash, packet) / 4294967296));
});
