import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { filesUnder, parse } from './sources.ts';

const ASSERTS = /^(expect|assert|fail)/;

/**
 * Names of the tests of a file that assert nothing. A test asserts when its body says expect or assert, or calls
 * a function of the same file that does, or one that is imported under such a name.
 */
function withoutAssertion(source: ts.SourceFile): string[] {
  const functions = new Map<string, ts.Node>();
  const tests: { name: string; body: ts.Node }[] = [];
  const collect = (node: ts.Node) => {
    if (ts.isFunctionDeclaration(node) && node.name && node.body) functions.set(node.name.text, node.body);
    if (ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && node.initializer) {
      functions.set(node.name.text, node.initializer);
    }
    if (ts.isMethodDeclaration(node) && node.body) functions.set(node.name.getText(source), node.body);
    if (ts.isCallExpression(node) && /^(it|test)\b/.test(node.expression.getText(source))) {
      const body = node.arguments.find((each) => ts.isArrowFunction(each) || ts.isFunctionExpression(each));
      if (body) tests.push({ name: node.arguments[0]!.getText(source), body });
    }
    ts.forEachChild(node, collect);
  };
  collect(source);

  const asserts = (node: ts.Node, seen: Set<string>): boolean => {
    if (ts.isIdentifier(node)) {
      if (ASSERTS.test(node.text)) return true;
      const called = functions.get(node.text);
      if (!called || seen.has(node.text)) return false;
      seen.add(node.text);
      return asserts(called, seen);
    }
    return ts.forEachChild(node, (child) => asserts(child, seen)) ?? false;
  };
  return tests.filter(({ body }) => !asserts(body, new Set())).map(({ name }) => name);
}

/** How many tests a file has. */
const countTests = (text: string) => text.match(/\b(it|test)(\.\w+)*\s*\(/g)?.length ?? 0;

describe('the tests', () => {
  it.each(filesUnder('test', '.test.ts'))('%s: every test asserts something', (file) => {
    const source = parse(file);
    expect(countTests(source.text)).toBeGreaterThan(0);
    expect(withoutAssertion(source)).toEqual([]);
  });

  it('a test without assertion is found, also behind a helper', () => {
    const text = `
      function checked() { expect(1).toBe(1); }
      function idle() { checkedNot(); }
      it('a', () => { idle(); });
      it('b', async () => { checked(); });
      it.each([1])('c %s', (n) => { n + 1; });`;
    expect(withoutAssertion(parse('x.test.ts', text))).toEqual(["'a'", "'c %s'"]);
  });

  it('are not switched off or alone', () => {
    const switched = filesUnder('test', '.test.ts').filter((file) => {
      const source = parse(file);
      let found = false;
      const visit = (node: ts.Node) => {
        if (
          ts.isPropertyAccessExpression(node) &&
          /^(it|test|describe)$/.test(node.expression.getText(source))
        ) {
          if (/^(only|skip|todo)$/.test(node.name.text)) found = true;
        }
        ts.forEachChild(node, visit);
      };
      visit(source);
      return found;
    });
    expect(switched).toEqual([]);
  });
});
