import { expect, it } from 'vitest';
import { Longest } from '../../../src/impair/queue/longest.ts';
import { numbers } from '../served.ts';

it('the longest of many queues is the one that a look through all of them finds first', () => {
  for (const count of [1, 2, 7, 64, 100]) {
    const random = numbers(count);
    const bytes = new Float64Array(count);
    const longest = new Longest(bytes);
    for (let i = 0; i < 2000; i++) {
      const queue = Math.floor(random() * count);
      // Few different lengths, so that many are equal.
      bytes[queue] = Math.floor(random() * 6) * 100;
      longest.changed(queue);
      if (random() < 0.02) longest.rest();
      if (random() < 0.5) continue;
      expect(longest.queue).toBe(bytes.indexOf(Math.max(...bytes)));
    }
  }
});
