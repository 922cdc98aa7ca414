import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as engine from '../../src/engine/index.ts';

const page = readFileSync(new URL('../../docs/runtime.md', import.meta.url), 'utf8');
const examples = [...page.matchAll(/```ts\n(.*?)```/gs)].map((found) => found[1]);

describe('the page about runtimes', () => {
  it.each(examples)('example %# prints what it says', (example) => {
    const expected = [...example.matchAll(/^\/\/ (.+)$/gm)].map((found) => found[1]);
    expect(expected.length).toBeGreaterThan(0);
    const printed: string[] = [];
    const program = example.replace(/^import (\{.*?\}) from 'tunconnector';/ms, 'const $1 = engine;');
    const log = { log: (line: unknown) => printed.push(String(line)) };
    // Its own text is the test.
    new Function('engine', 'console', program)(engine, log);
    expect(printed).toEqual(expected);
  });
});
