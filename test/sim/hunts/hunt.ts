/** A hunt: something real, run by many seeds, with faults that each seed draws. What fails is made as small as it gets. */
import { shrink } from '../../../src/sim/index.ts';

export interface Hunt<Part> {
  /** The script of a seed. */
  draw(seed: number): Part[];
  /** @returns what is wrong, or undefined */
  run(seed: number, script: readonly Part[]): Promise<string | undefined>;
  /** The same part, simpler. */
  simpler?(part: Part): Part[];
}

export interface Catch<Part> {
  seed: number;
  wrong: string;
  script: Part[];
}

/** `FROM..TO`, both inclusive: `npm run soak -- sim` sets it. */
export const SEEDS = 'TUNCONNECTOR_HUNT_SEEDS';

/** From the environment, or the first `few`. */
export function seedsOf(few: number): number[] {
  const [from = 1, to = few] = (process.env[SEEDS] ?? '').match(/\d+/g)?.map(Number) ?? [];
  return Array.from({ length: to - from + 1 }, (_, n) => from + n);
}

/** Ends after three that fail. */
export async function hunted<Part>(hunt: Hunt<Part>, few: number): Promise<Catch<Part>[]> {
  const found: Catch<Part>[] = [];
  const isSoak = process.env[SEEDS] !== undefined;
  for (const seed of seedsOf(few)) {
    // If it dies, this is where.
    if (isSoak) console.log(`at seed ${seed}`);
    const drawn = hunt.draw(seed);
    let wrong = await hunt.run(seed, drawn);
    if (wrong !== undefined) {
      const fails = async (script: readonly Part[]) => {
        const now = await hunt.run(seed, script);
        if (now !== undefined) wrong = now;
        return now !== undefined;
      };
      const { script } = await shrink(drawn, fails, hunt.simpler);
      found.push({ seed, wrong, script });
      if (isSoak) console.log(`seed ${seed}: ${wrong}\n  ${JSON.stringify(script)}`);
      if (found.length === 3) break;
    }
  }
  if (isSoak) console.log('all seeds are done');
  return found;
}
