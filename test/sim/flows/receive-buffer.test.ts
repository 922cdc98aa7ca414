/** The example that compares TCP over one path with theory: the tolerances of its README. */
import { describe, expect, it } from 'vitest';

/** Of the path's name and the receive buffer in bytes, or of the share that is lost: bit/s. */
interface Experiment {
  measured(name: string, receiveBuffer: number): Promise<number>;
  expected(name: string, receiveBuffer: number): number;
  lossy(loss: number): Promise<number>;
  mathis(loss: number): number;
}

const file = new URL('../../../examples/sim-receive-buffer/experiment.mjs', import.meta.url).href;
const { expected, lossy, mathis, measured }: Experiment = await import(file);

describe('goodput over one path', () => {
  it.each([
    ['WiFi', 8, 0.2],
    ['WiFi', 16, 0.05],
    ['WiFi', 64, 0.05],
    ['3G', 16, 0.05],
    ['3G', 32, 0.05],
    ['3G', 512, 0.05],
  ])(
    'like %s with a receive buffer of %i kB is within its tolerance of theory',
    async (name, kilobytes, tolerance) => {
      const bytes = kilobytes * 1024;
      expect(Math.abs((await measured(name, bytes)) / expected(name, bytes) - 1)).toBeLessThan(tolerance);
    },
  );

  it.each([0.001, 0.01])('with a loss of %f is what Mathis et al. say', async (loss) => {
    const share = (await lossy(loss)) / mathis(loss);
    expect(share).toBeGreaterThan(0.8);
    expect(share).toBeLessThan(1.15);
  });
});
