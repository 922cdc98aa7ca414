import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const cores = availableParallelism();

export default defineConfig({
  test: {
    // A crashing addon takes down one file, not the run.
    pool: 'forks',
    env: { TUNCONNECTOR_DEBUG: '1' },
    // A second, as it is by default, is a bar of time on a busy machine; what never comes fails all the same.
    expect: { poll: { timeout: 10_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/live/**'],
          testTimeout: 20_000,
          maxWorkers: cores,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'live',
          include: ['test/live/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 30_000,
          // They move real traffic and look at the clock: more at a time would measure one another.
          maxWorkers: Math.min(2, cores),
          // A machine that stands still for a second loses a real ping. What is wrong fails twice.
          retry: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
