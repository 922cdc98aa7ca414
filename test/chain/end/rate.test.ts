import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('rate.mjs', import.meta.url));

describe('the ends of a chain with 100 000 live flows', () => {
  it('make no garbage per packet, and take 10 000 new flows a second', () => {
    const { TUNCONNECTOR_DEBUG: _, ...env } = process.env;
    const text = execFileSync(process.execPath, [program, '300000'], { encoding: 'utf8', env });
    const found = JSON.parse(text);
    const page = readFileSync(new URL('../../../docs/chain/ends.md', import.meta.url), 'utf8');
    expect(found.flows).toBe(100_000);
    const stated = Number(/\| memory per flow \| (\d+) bytes \|/.exec(page)![1]);
    expect(Math.abs(found.bytesPerFlow - stated)).toBeLessThan(10);
    // Numbers that a burst makes, and what V8 notes while it compiles: an object per packet would be 16 and more.
    expect(found.packetIn.garbage).toBeLessThan(6);
    expect(found.packetAcross.garbage).toBeLessThan(6);
    expect(found.churn).toMatchObject({
      newFlows: 100_000,
      perSecond: 10_000,
      expired: 90_000,
      alive: 10_000,
    });
    expect(found.churn.cpuShare).toBeLessThan(0.5);
  }, 120_000);
});
