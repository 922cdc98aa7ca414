/** A search in several processes: what comes out is that of one, whatever becomes of them. */
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { type ExploreModuleOptions, exploreModule } from '../../../src/sim/index.ts';

const module = new URL('./fixtures/explored.mjs', import.meta.url).href;
const SEEDS = Array.from({ length: 16 }, (_, n) => n + 1);

/** Also the seeds in the order in which they were told. */
async function search(scenario: object, more: Partial<ExploreModuleOptions> = {}) {
  const told: [number, string | undefined][] = [];
  const found = await exploreModule(
    { module, options: scenario },
    {
      seeds: SEEDS,
      failures: 100,
      ...more,
      onRun: (seed, failure) => told.push([seed, failure?.error.message]),
    },
  );
  return {
    ...found,
    failures: found.failures.map(({ error, ...rest }) => ({ ...rest, error: error.message })),
    told,
  };
}

describe('a search in several processes', { timeout: 120_000 }, () => {
  it('finds the same for any number of them, in the order of the seeds', async () => {
    const one = await search({}, { workers: 1 });
    const four = await search({}, { workers: 4 });
    expect(four).toEqual(one);
    expect(one.told.map(([seed]) => seed)).toEqual(SEEDS);
    expect(one.failures.length).toBeGreaterThan(2);
    expect(one.failures.length).toBeLessThan(16);
    for (const { faults } of one.failures) expect(faults).toMatchObject([{ crash: expect.anything() }]);
  });

  it('ends after so many failures, the first ones by seed', async () => {
    const all = await search({}, { workers: 2, shrink: false });
    for (const workers of [1, 3]) {
      const some = await search({}, { workers, shrink: false, failures: 2 });
      expect(some.failures).toEqual(all.failures.slice(0, 2));
      expect(some.runs).toBe(some.failures[1]!.seed);
    }
  });

  it('goes on when a process dies: that is a failure of the seed that it was at', async () => {
    const progress: number[] = [];
    const usual = await search({}, { shrink: false });
    const { runs, failures } = await search(
      { dies: 5 },
      { workers: availableParallelism() + 1, shrink: false, onProgress: (done) => progress.push(done) },
    );
    expect(runs).toBe(16);
    expect(progress).toEqual(SEEDS);
    const dead = failures.find(({ seed }) => seed === 5)!;
    expect(dead.error).toBe('its process has ended: SIGKILL');
    expect(dead.drawn).toHaveLength(2);
    const but5 = ({ seed }: { seed: number }) => seed !== 5;
    expect(failures.filter(but5)).toEqual(usual.failures.filter(but5));
  });

  it('is ended by a signal, though a process hangs, with what was found before', async () => {
    const ending = new AbortController();
    const found = await search(
      { hangs: 7 },
      {
        workers: 2,
        shrink: false,
        signal: ending.signal,
        onProgress: (done) => done === 15 && ending.abort(),
      },
    );
    expect(found.told.map(([seed]) => seed)).toEqual([1, 2, 3, 4, 5, 6]);
    ending.abort();
    expect((await search({}, { signal: ending.signal })).runs).toBe(0);
  });

  it('says what is wrong with a scenario', async () => {
    await expect(search({ wrong: true })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    await expect(search({}, { workers: 0 })).rejects.toThrow('workers: found 0, expected 1 to 64');
    const nowhere = exploreModule({ module: `${module}x` }, { seeds: [1], workers: 1 });
    await expect(nowhere).rejects.toMatchObject({ code: 'ERR_CONFIG', message: /does not load/ });
    const unnamed = exploreModule({ module, export: 'x' }, { seeds: [1], workers: 1 });
    await expect(unnamed).rejects.toThrow('exports no function "x"');
  });
});
