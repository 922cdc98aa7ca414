/** The smallest script that still fails: delta debugging (Zeller and Hildebrandt, 2002), then each part made simpler. */

export interface Shrunk<Part> {
  script: Part[];
  /** How often `fails` was asked. */
  tries: number;
}

/**
 * @param script fails
 * @param fails whether a script still does
 * @param simpler of a part, simplest first; none: it cannot be simpler
 * @param limit most times that `fails` is asked
 */
export async function shrink<Part>(
  script: readonly Part[],
  fails: (script: readonly Part[]) => Promise<boolean>,
  simpler: (part: Part) => readonly Part[] = () => [],
  limit = 200,
): Promise<Shrunk<Part>> {
  let best = [...script];
  let tries = 0;
  const better = async (next: readonly Part[]): Promise<boolean> => {
    if (tries >= limit) return false;
    tries++;
    if (!(await fails(next))) return false;
    best = [...next];
    return true;
  };
  for (let size = best.length; size > 0 && tries < limit; ) {
    let dropped = false;
    for (let at = 0; at < best.length; ) {
      if (await better([...best.slice(0, at), ...best.slice(at + size)])) dropped = true;
      else at += size;
    }
    if (size === 1 && !dropped) break;
    if (!dropped) size = Math.ceil(size / 2);
    else size = Math.min(size, best.length);
  }
  for (let changed = true; changed && tries < limit; ) {
    changed = false;
    for (let n = 0; n < best.length; n++) {
      for (const part of simpler(best[n] as Part)) {
        if (!(await better([...best.slice(0, n), part, ...best.slice(n + 1)]))) continue;
        changed = true;
        break;
      }
    }
  }
  return { script: best, tries };
}
