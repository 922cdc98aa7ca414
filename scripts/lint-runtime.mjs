/**
 * The rule that makes simulation possible: under src/ only the live runtime reads a clock, sets a timer, draws a
 * random number, or opens a file or socket; and nothing waits for a promise on the packet path (lint-packet-path.mjs). Looks at the
 * syntax tree, so comments and strings do not matter.
 *
 *     node scripts/lint-runtime.mjs [DIRECTORY]      # default: src
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { hasRoots, lintPacketPaths } from './lint-packet-path.mjs';

/** Files that are the machine's side of the line, relative to src/. */
const ALLOWED = [
  /^(engine|tun|impair|tunnel|deliver|sim)\/([^/]+\/)?live-[^/]+\.ts$/,
  /^(chain|control)\/([^/]+\/){0,2}live-[^/]+\.ts$/,
  /^native\/load\.ts$/,
  /^cli\//,
  /^testing\//,
];

const CLOCK = 'take the time as an argument (integer nanoseconds), or ask the runtime';
const TIMER = 'return the time from nextDeadline(), or use a timer of the runtime';
const RANDOM = 'draw from a random stream of the runtime';
const OUTSIDE = 'ask the runtime for datagrams, channels and storage, or move this to a live-*.ts file';

const GLOBALS = new Map([
  ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'].map((name) => [name, TIMER]),
  ...['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest'].map((name) => [name, OUTSIDE]),
  ['performance', CLOCK],
]);
const MEMBERS = new Map([
  ['Date.now', CLOCK],
  ['process.hrtime', CLOCK],
  ['process.uptime', CLOCK],
  ['process.nextTick', TIMER],
  ['process.getBuiltinModule', OUTSIDE],
  ['AbortSignal.timeout', TIMER],
  ['Math.random', RANDOM],
  ...['getRandomValues', 'randomUUID', 'randomBytes', 'randomInt', 'randomFill', 'randomFillSync'].map(
    (name) => [`crypto.${name}`, RANDOM],
  ),
]);
const MODULES = new Map([
  ...['fs', 'net', 'dgram', 'child_process', 'http', 'http2', 'https', 'tls', 'dns', 'readline', 'repl'].map(
    (name) => [name, OUTSIDE],
  ),
  ['timers', TIMER],
  ['perf_hooks', CLOCK],
]);
const CRYPTO_RANDOM = /^(random|getRandomValues|webcrypto|generateKey)/;

/**
 * @param {string} text source of one file
 * @param {string} file its name in the messages
 * @returns {string[]} one line per finding: `file:line:column: what; what to do instead`
 */
export function lintSource(text, file) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const findings = [];
  const report = (node, what, remedy) => {
    const { line, character } = source.getLineAndCharacterOfPosition(node.getStart(source));
    findings.push(`${file}:${line + 1}:${character + 1}: ${what} outside of the live runtime; ${remedy}`);
  };

  const moduleName = (node) => {
    if (!node || !ts.isStringLiteralLike(node)) return;
    const name = node.text.replace(/^node:/, '');
    const remedy = MODULES.get(name.split('/')[0]);
    if (remedy) report(node, `module ${node.text}`, remedy);
  };

  const visit = (node) => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
    if (ts.isImportDeclaration(node)) {
      if (!isTypeOnly(node)) {
        moduleName(node.moduleSpecifier);
        for (const name of cryptoNames(node)) report(node, `${name} of node:crypto`, RANDOM);
      }
      return;
    }
    if (ts.isExportDeclaration(node) && !node.isTypeOnly) moduleName(node.moduleSpecifier);
    if (ts.isExternalModuleReference(node)) moduleName(node.expression);
    if (ts.isCallExpression(node)) {
      const callee = node.expression;
      const loads =
        callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require');
      if (loads) moduleName(node.arguments[0]);
      if (ts.isIdentifier(callee) && callee.text === 'Date') report(node, 'Date()', CLOCK);
    }
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date') {
      if (!node.arguments?.length) report(node, 'new Date()', CLOCK);
    }
    const member = memberName(node);
    if (MEMBERS.has(member)) {
      report(node, member, MEMBERS.get(member));
      return;
    }
    if (destructures(node)) {
      for (const element of node.name.elements) {
        const name = `${globalName(node.initializer)}.${(element.propertyName ?? element.name).getText(source)}`;
        if (MEMBERS.has(name)) report(element, name, MEMBERS.get(name));
      }
    }
    const global = isReference(node) ? node.text : member?.startsWith('globalThis.') ? member.slice(11) : '';
    if (GLOBALS.has(global)) {
      report(node, global, GLOBALS.get(global));
      return;
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return findings;
}

function isTypeOnly(node) {
  const clause = node.importClause;
  if (!clause) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const bindings = clause.namedBindings;
  const named = bindings && ts.isNamedImports(bindings) && bindings.elements.length > 0;
  return Boolean(named && !clause.name && bindings.elements.every((each) => each.isTypeOnly));
}

function cryptoNames(node) {
  if (!/^(node:)?crypto$/.test(node.moduleSpecifier.text)) return [];
  const bindings = node.importClause?.namedBindings;
  if (!bindings || !ts.isNamedImports(bindings)) return [];
  return bindings.elements
    .filter((each) => !each.isTypeOnly)
    .map((each) => (each.propertyName ?? each.name).text)
    .filter((name) => CRYPTO_RANDOM.test(name));
}

/** `X` or `globalThis.X` as `X`. */
function globalName(node) {
  if (ts.isIdentifier(node)) return node.text;
  const inner = memberName(node);
  return inner?.startsWith('globalThis.') ? inner.slice(11) : undefined;
}

/** `Date.now`, `Date['now']` and `globalThis.Date.now` as `Date.now`. */
function memberName(node) {
  let name;
  if (ts.isPropertyAccessExpression(node)) name = node.name.text;
  else if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    name = node.argumentExpression.text;
  }
  if (name === undefined) return undefined;
  const object = globalName(node.expression);
  return object === undefined ? undefined : `${object}.${name}`;
}

const destructures = (node) =>
  ts.isVariableDeclaration(node) &&
  ts.isObjectBindingPattern(node.name) &&
  node.initializer !== undefined &&
  globalName(node.initializer) !== undefined;

/** An identifier that stands for a value, not the name of a member, a parameter or a declaration. */
function isReference(node) {
  if (!ts.isIdentifier(node)) return false;
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isShorthandPropertyAssignment(parent)) return true;
  if (ts.isPropertyAssignment(parent) || ts.isEnumMember(parent)) return parent.initializer === node;
  if (ts.isBindingElement(parent) || ts.isVariableDeclaration(parent) || ts.isParameter(parent)) {
    return parent.initializer === node;
  }
  if (ts.isPropertyDeclaration(parent)) return parent.initializer === node;
  return !('name' in parent && parent.name === node) && !ts.isLabeledStatement(parent);
}

/** Findings of all files under `directory` that are not on the machine's side, and of the packet path. */
export function lintDirectory(directory) {
  const inDirectory = (file) => path.relative(directory, file).split(path.sep).join('/');
  const all = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.[cm]?ts$/.test(entry.name))
    .map((entry) => path.relative('.', path.join(entry.parentPath, entry.name)))
    .sort();
  const files = all.filter((file) => !ALLOWED.some((allowed) => allowed.test(inDirectory(file))));
  return [
    ...files.flatMap((file) => lintSource(readFileSync(file, 'utf8'), file)),
    ...lintPacketPaths(all.filter((file) => hasRoots(inDirectory(file)))),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const findings = lintDirectory(process.argv[2] ?? 'src');
  for (const finding of findings) console.error(finding);
  if (findings.length > 0) {
    console.error(
      `${findings.length} found. What talks to the machine lives in live-*.ts files of src/engine, src/tun, src/impair, src/tunnel, src/deliver, src/chain, src/sim and src/control, and in src/cli.`,
    );
    process.exitCode = 1;
  }
}
