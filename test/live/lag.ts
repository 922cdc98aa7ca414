/** How long this process has waited for its turn: what a busy machine adds to every time that is measured. */
import { performance } from 'node:perf_hooks';

const TICK = 10;

/** Counts from now on. Returns ms so far, and stops counting. */
export function measureLag(): () => number {
  let lag = 0;
  let last = performance.now();
  const look = () => {
    const now = performance.now();
    lag += Math.max(0, now - last - TICK - 2);
    last = now;
  };
  const timer = setInterval(look, TICK);
  return () => {
    clearInterval(timer);
    look();
    return lag;
  };
}
