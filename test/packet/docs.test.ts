import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as packet from '../../src/packet/index.ts';

const page = readFileSync(new URL('../../docs/packet.md', import.meta.url), 'utf8');
const examples = [...page.matchAll(/```ts\n(.*?)```/gs)].map((found) => found[1]);

/** `expression; // => value` becomes an assertion, the import a destructuring. */
const runnable = (example: string) =>
  example
    .replace(/^import (\{.*?\}) from 'tunconnector\/packet';/ms, 'const $1 = packet;')
    .replace(/^(?!const)(.+); \/\/ => (.+)$/gm, 'expect($1).toEqual($2);');

describe('the page about packets', () => {
  it.each(examples)('example %# does what it says', (example) => {
    expect(example).toContain('// => ');
    // Its own text is the test.
    new Function('packet', 'expect', runnable(example))(packet, expect);
  });

  it('names nothing that is not exported', () => {
    const imported = examples.flatMap((example) =>
      /import \{(.*?)\}/s
        .exec(example)![1]
        .split(',')
        .map((n) => n.trim()),
    );
    expect(imported.length).toBeGreaterThan(10);
    expect(imported.filter((name) => !(name in packet))).toEqual([]);
    const inTables = [...page.matchAll(/^\| (`.*?`.*?) \|/gm)].flatMap((row) =>
      [...row[1].matchAll(/`(\w+)/g)].map((found) => found[1]),
    );
    expect(inTables.length).toBeGreaterThan(40);
    expect(inTables.filter((name) => !(name in packet))).toEqual([]);
  });
});
