/**
 * The packet path is synchronous: no promise, no async function, no generator. A promise costs an allocation for each packet, and ties the order of
 * packets to Node's queues, where no simulation can repeat it.
 *
 * The packet path is what an engine calls for packets: methods `push` and `pull` of apps, `breathe` of networks, `input`, `run` and `tick` of
 * protocols, `enter` and `work` of stages and functions, in src/engine, packet, tun, impair, tunnel, stack and chain; and all that those call by
 * name: methods of the same class, functions of the same file, and functions that the file imports from another one of src/, from there on. What says "Off the packet path" in its comment is not followed.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

export const ROOTS = new Set(['push', 'pull', 'breathe', 'input', 'run', 'tick', 'enter', 'work']);
/** In the comment of a function that packets do not wait for, though it is called from there. */
const EXEMPT = 'Off the packet path';
const FLOORS = /^(engine|packet|tun|impair|tunnel|stack|chain)\//;
/** The machine's side of the line, and what a person or another machine asks for. */
const ELSEWHERE = /(^|\/)live-[^/]+\.ts$|^chain\/(roulette|warm)\//;

/** Whether the packet path may begin in a file. @param {string} file relative to src/ */
export const hasRoots = (file) => FLOORS.test(file) && !ELSEWHERE.test(file);

/**
 * Findings of the paths that begin in some files.
 *
 * @param {readonly string[]} files
 * @param {(file: string) => string | undefined} [read] text of a file; undefined: it is not there
 * @returns {string[]} `file:line:column: what on the packet path, from where; what to do instead`
 */
export function lintPacketPaths(files, read = readText) {
  const modules = new Map();
  const moduleOf = (file) => {
    if (!modules.has(file)) {
      const text = read(file);
      modules.set(file, text === undefined ? undefined : moduleIn(text, file));
    }
    return modules.get(file);
  };
  const findings = new Map();
  const seen = new Set();
  const walk = (module, code, owner, root) => {
    if (!code || seen.has(code)) return;
    seen.add(code);
    const comments = module.source.text.slice(code.getFullStart(), code.getStart(module.source));
    if (comments.includes(EXEMPT)) return;
    if (code.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword))
      report(module, code, 'an async function', root);
    if (code.asteriskToken) report(module, code, 'a generator', root);
    const visit = (node) => {
      if (ts.isTypeNode(node)) return;
      const isCode = ts.isArrowFunction(node) || ts.isFunctionExpression(node);
      if (isCode && node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword)) {
        report(module, node, 'an async function', root);
      }
      if (ts.isAwaitExpression(node)) report(module, node, 'await', root);
      if (ts.isForOfStatement(node) && node.awaitModifier) report(module, node, 'for await', root);
      const asks =
        ts.isBinaryExpression(node.parent) &&
        node.parent.operatorToken.kind === ts.SyntaxKind.InstanceOfKeyword;
      if (ts.isIdentifier(node) && node.text === 'Promise' && !asks) report(module, node, 'Promise', root);
      if (ts.isCallExpression(node)) {
        const { expression } = node;
        if (ts.isPropertyAccessExpression(expression)) {
          const { name } = expression;
          if (['then', 'finally'].includes(name.text)) report(module, node, `.${name.text}()`, root);
          if (expression.expression.kind === ts.SyntaxKind.ThisKeyword)
            walk(module, owner?.get(name.text), owner, root);
        } else if (ts.isIdentifier(expression)) {
          const own = module.functions.get(expression.text);
          if (own) walk(module, own, undefined, root);
          else {
            const from = module.imports.get(expression.text);
            const other = from && moduleOf(from.file);
            if (other) walk(other, other.functions.get(from.name), undefined, root);
          }
        }
      }
      ts.forEachChild(node, visit);
    };
    if (code.body) visit(code.body);
  };
  const report = ({ file, source }, node, what, root) => {
    const { line, character } = source.getLineAndCharacterOfPosition(node.getStart(source));
    const place = `${file}:${line + 1}:${character + 1}`;
    findings.set(
      place,
      `${place}: ${what} on the packet path from ${root}; return when there is nothing to do, and be called again`,
    );
  };
  for (const file of files) {
    const module = moduleOf(file);
    for (const { name, methods } of module?.classes ?? [])
      for (const root of ROOTS) walk(module, methods.get(root), methods, `${name}.${root}`);
  }
  return [...findings.values()];
}

function readText(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** Classes with their methods, functions by name, and where imported names come from. */
function moduleIn(text, file) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const module = { file, source, classes: [], functions: new Map(), imports: new Map() };
  for (const node of source.statements) {
    if (ts.isFunctionDeclaration(node) && node.name && node.body) module.functions.set(node.name.text, node);
    if (ts.isVariableStatement(node)) {
      for (const { name, initializer } of node.declarationList.declarations) {
        const isCode =
          initializer && (ts.isArrowFunction(initializer) || ts.isFunctionExpression(initializer));
        if (isCode && ts.isIdentifier(name)) module.functions.set(name.text, initializer);
      }
    }
    if (ts.isImportDeclaration(node) && node.moduleSpecifier.text.startsWith('.')) {
      const bindings = node.importClause?.namedBindings;
      const from = path.join(path.dirname(file), node.moduleSpecifier.text);
      for (const { name, propertyName } of (bindings && ts.isNamedImports(bindings) && bindings.elements) ||
        [])
        module.imports.set(name.text, { file: from, name: (propertyName ?? name).text });
    }
  }
  const collect = (node) => {
    if (ts.isClassDeclaration(node) || ts.isClassExpression(node)) {
      const methods = new Map();
      for (const member of node.members)
        if (ts.isMethodDeclaration(member)) methods.set(member.name.getText(source), member);
      module.classes.push({ name: node.name?.text ?? 'class', methods });
    }
    ts.forEachChild(node, collect);
  };
  collect(source);
  return module;
}
