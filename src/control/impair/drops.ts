/** Drops as they happen, from the link to those who watch: in words, and never more than a reader can be shown. */
import type { WatchedDrop, WatchedDrops } from '../../impair/drop-watch.ts';
import { keyName } from '../../impair/log/flow-name.ts';
import { DROPS } from './attached.ts';
import type { Drop } from './contract.ts';

/** What one reader has not been told yet. */
export class PendingDrops {
  #drops: Drop[] = [];
  #more = 0;

  /** @param shown some of the drops there were @param total of all */
  add(shown: readonly Drop[], total: number): void {
    this.#more += total - shown.length;
    this.#drops.push(...shown);
    while (this.#drops.length > DROPS) {
      const kept = this.#drops.filter((_, i) => i % 2 === 0);
      this.#more += this.#drops.length - kept.length;
      this.#drops = kept;
    }
  }

  /** In the order of their times; undefined when there were none. */
  take(): { drops: Drop[]; more: number } | undefined {
    if (this.#drops.length === 0 && this.#more === 0) return undefined;
    const taken = { drops: this.#drops.sort((a, b) => a.at - b.at), more: this.#more };
    this.#drops = [];
    this.#more = 0;
    return taken;
  }
}

export function dropsInWords([up, down]: readonly [WatchedDrops, WatchedDrops]): {
  shown: Drop[];
  total: number;
} {
  return { shown: [...up.drops, ...down.drops].map(inWords), total: up.total + down.total };
}

function inWords({ at, key, backward, stage: name, why, packets, bytes }: WatchedDrop): Drop {
  // Neither labels nor directions have a slash.
  const [direction, rule, ...stage] = name.split('/');
  return {
    at,
    direction: direction as 'up' | 'down',
    flow: key ? keyName(key, backward) : 'other',
    rule,
    stage: stage.join('/'),
    ...{ why, packets, bytes },
  };
}
