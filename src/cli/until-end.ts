/** What ends a command that runs until somebody says so. */

import { constants } from 'node:os';

/** How a command gets to its end. */
export interface Ending {
  /** Settles when it shall end, rejects when it cannot go on. */
  readonly promise: Promise<void>;
  /** It cannot go on. */
  readonly fail: (error: unknown) => void;
  /** Signals mean again what they meant before. */
  forget(): void;
}

/**
 * The first of these signals ends a command in good order, and the second at once: the janitor still cleans up. So does the end
 * of the process that started it with a channel. Whatever nobody caught is a failure of the command.
 */
export function untilEnd(signals: readonly NodeJS.Signals[]): Ending {
  let stop = () => {};
  let fail = (_error: unknown) => {};
  const promise = new Promise<void>((resolve, reject) => {
    stop = resolve;
    fail = reject;
  });
  // Awaited only when everything is set up.
  promise.catch(() => {});
  let asked = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (asked) process.exit(128 + constants.signals[signal]);
    asked = true;
    stop();
  };
  const onFailure = (error: unknown) => fail(error);
  for (const signal of signals) process.on(signal, onSignal);
  process.on('uncaughtException', onFailure);
  process.on('disconnect', stop);
  const forget = () => {
    for (const signal of signals) process.off(signal, onSignal);
    process.off('uncaughtException', onFailure);
    process.off('disconnect', stop);
  };
  return { promise, fail: onFailure, forget };
}
