import { describe, expect, it } from 'vitest';
import { hasRoots, lintPacketPaths } from '../../scripts/lint-packet-path.mjs';

/** Findings in files by name; the path begins in the first. */
const findings = (files: Record<string, string>) =>
  lintPacketPaths(Object.keys(files).slice(0, 1), (file) => files[file]).map((line) =>
    line.replace(/; return.*/, ''),
  );
const inPush = (body: string, more = '') => ({ 'a.ts': `class A { push() { ${body} } ${more} }` });

describe('the packet path', () => {
  it.each([
    ['an await', 'await x;', 'await'],
    ['a promise', 'new Promise(() => {});', 'Promise'],
    ['a promise that is there', 'Promise.resolve(1);', 'Promise'],
    ['what goes on later', 'this.file.then(() => 1);', '.then()'],
    ['an async function', 'const f = async () => 1;', 'an async function'],
    ['for await', 'for await (const x of y) f(x);', 'for await'],
  ])('may not have %s', (_, body, what) => {
    expect(findings(inPush(body))[0]).toContain(`${what} on the packet path from A.push`);
  });

  it.each(['push', 'pull', 'breathe', 'input', 'run', 'tick', 'enter', 'work'])('begins with %s', (name) => {
    const found = findings({ 'a.ts': `class A { async ${name}() {} }` });
    expect(found).toEqual([`a.ts:1:11: an async function on the packet path from A.${name}`]);
    expect(findings({ 'a.ts': `class A { * ${name}() {} }` })[0]).toContain('a generator');
  });

  it('goes on into methods of the class, functions of the file, and functions of other files', () => {
    expect(findings(inPush('this.#take(1);', 'async #take() {}'))).toHaveLength(1);
    expect(findings({ 'a.ts': 'async function f() {} class A { push() { f(); } }' })).toHaveLength(1);
    expect(findings({ 'a.ts': 'const f = async () => 1; class A { push() { f(); } }' })).toHaveLength(1);
    const files = {
      'x/a.ts': "import { go as f } from '../y/b.ts'; class A { pull() { f(); } }",
      'y/b.ts': 'export function go() { further(); } async function further() {} async function other() {}',
    };
    expect(findings(files)).toEqual(['y/b.ts:1:37: an async function on the packet path from A.pull']);
  });

  it('is not what lies beside it', () => {
    expect(findings(inPush('', 'async close() { await 1; }'))).toEqual([]);
    expect(findings({ 'a.ts': 'async function f() {} class A { push() {} }' })).toEqual([]);
    expect(findings(inPush('if (x instanceof Promise) f();'))).toEqual([]);
    expect(findings(inPush('let x: Promise<void> | undefined;'))).toEqual([]);
    expect(findings(inPush('this.#end();', '/** Off the packet path: once. */ async #end() {}'))).toEqual([]);
  });

  it('begins in the floors that packets pass, and not on the machine’s side', () => {
    const begins = ['engine/network.ts', 'stack/tcp/tcp.ts', 'chain/hop/hop.ts', 'impair/delay.ts'];
    const not = ['cli/main.ts', 'tun/live-tuns.ts', 'chain/roulette/store.ts', 'control/server.ts'];
    for (const file of begins) expect(hasRoots(file)).toBe(true);
    for (const file of not) expect(hasRoots(file)).toBe(false);
  });
});
