/** What went wrong in a simulation, as somebody needs it who wants to see it happen. */
import type { Simulation } from './simulation.ts';

export interface Failure {
  seed: number;
  /** What was thrown. */
  error: Error;
  /** World time, ns. */
  at: number;
  /** Events until then, with the one in which it was seen. `runToEvent(event - 1)` is before it. */
  event: number;
  /** Whose code ran last; undefined: none has. */
  host: string | undefined;
}

export function failureOf(sim: Simulation, thrown: unknown): Failure {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return { seed: sim.seed, error, at: sim.runtime.now(), event: sim.events, host: sim.ranLast };
}

/** `seed 7, 1.5 s, event 812, host b` */
export function whereOf({ seed, at, event, host }: Omit<Failure, 'error'>): string {
  const places = [`seed ${seed}`, `${at / 1e9} s`, `event ${event}`];
  return [...places, ...(host === undefined ? [] : [`host ${host}`])].join(', ');
}
