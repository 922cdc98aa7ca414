import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { filesUnder, read, root } from './sources.ts';

const execute = promisify(execFile);
const PAGES = [
  ...[
    'README.md',
    'docs/engine.md',
    'docs/ports.md',
    'docs/tunnel-apps.md',
    'docs/impair/serve.md',
    'docs/chain/vnf.md',
  ],
  ...filesUnder('docs/chain/functions', '.md'),
];

const blocksOf = (page: string, language: string) =>
  [...read(page).matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map((found) => found[1]!);

/** Runs a program of this repository's Node. Its output, whatever its exit code. */
async function node(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const options = { cwd: root, env: { ...process.env, ...env }, timeout: 60_000 };
  return execute(process.execPath, argv, options).then(
    ({ stdout, stderr }) => stdout + stderr,
    (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
  );
}

const COMPILE = [
  ...['node_modules/typescript/bin/tsc', '--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck'],
  ...['--allowJs', '--checkJs', '--noUnusedLocals'],
  ...['--module', 'nodenext', '--target', 'es2022', '--lib', 'es2023', '--types', 'node'],
];

interface Text {
  name: string;
  text: string;
}

/** Runs Node on texts, each a module of this package. */
async function withFiles(texts: readonly Text[], argv: readonly string[]): Promise<string> {
  await mkdir(path.join(root, '.cache'), { recursive: true });
  // Inside the package, so that `tunconnector` is the package itself.
  const folder = await mkdtemp(path.join(root, '.cache', 'pages-'));
  try {
    for (const { name, text } of texts) await writeFile(path.join(folder, name), `${text}\nexport {};\n`);
    return await node([...argv, ...texts.map(({ name }) => path.relative(root, path.join(folder, name)))]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What tsc has to say. */
const compile = (texts: readonly Text[], ...more: string[]) => withFiles(texts, [...COMPILE, ...more]);
const run = (text: string) => withFiles([{ name: 'page.mjs', text }], []);

/** A block that imports its neighbour in examples/, for a file in another folder. */
const elsewhere = (text: string) => text.replace("'./drop-odd.mjs'", "'../../examples/drop-odd.mjs'");

/** Whether a line is there, with a semicolon or without. */
const matches = (lines: readonly string[], line: string) =>
  lines.some((each) => each.replace(/;$/, '') === line);

describe('the code of the pages', () => {
  it('compiles, each block alone', { timeout: 60_000 }, async () => {
    const texts = PAGES.flatMap((page) =>
      blocksOf(page, 'ts').map((text, n) => ({ name: `${page.replaceAll('/', '-')}-${n}.ts`, text })),
    );
    expect(texts.length).toBeGreaterThan(7);
    expect(await compile(texts)).toBe('');
  });

  it('calls what there is in plain JavaScript too', { timeout: 60_000 }, async () => {
    const texts = blocksOf('README.md', 'js').map((text, n) => ({ name: `${n}.mjs`, text: elsewhere(text) }));
    expect(texts.length).toBeGreaterThan(2);
    expect(await compile(texts, '--noImplicitAny', 'false')).toBe('');
  });

  it('of the README is that of the examples', async () => {
    const lines = (text: string) => text.split('\n').map((line) => line.trim());
    const between = blocksOf('README.md', 'js').find((text) => text.includes('class DropOdd'))!;
    const shown = lines(between).filter((line) => line !== '' && !/^import |interface: |net\.run/.test(line));
    expect(shown).toContain('class DropOdd {');
    const example = lines(read('examples/drop-odd.mjs').replace('export class', 'class'));
    expect(shown.map((line) => line.replace(/;$/, '')).filter((line) => !matches(example, line))).toEqual([]);
  });

  it('of the README’s test passes', async () => {
    const test = blocksOf('README.md', 'js').find((text) => text.includes('testNetwork'))!;
    expect(await run(elsewhere(test))).toBe('');
    expect(await run(elsewhere(test).replace('length, 2', 'length, 3'))).toContain('AssertionError');
  });

  it('of the README’s bad network loses the same packets every time', async () => {
    const test = blocksOf('README.md', 'js').find((text) => text.includes('impairedPair'))!;
    expect(await run(test)).toBe('88 of 100 arrived, after 50 ms and not before\n');
  });

  it('of the page about functions lets one of two packets through', async () => {
    const [test] = blocksOf('docs/chain/vnf.md', 'js');
    expect(await run(test!)).toBe('1 of 2 came through\n');
  });

  const inVirtualTime = blocksOf('docs/engine.md', 'ts').filter((text) => text.includes('VirtualRuntime'));
  it.each(inVirtualTime)('of the page about the engine prints what it says (%#)', async (text) => {
    const said = [...text.matchAll(/^\/\/ (.*\n)/gm)].map((line) => line[1]).join('');
    const { target, module } = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    const { outputText } = ts.transpileModule(text, { compilerOptions: { target, module } });
    expect(said).not.toBe('');
    expect(await run(outputText)).toBe(said);
  });

  it('would not if it called what there is not', { timeout: 60_000 }, async () => {
    const text = "import { openTun } from 'tunconnector';\nopenTun({ adresses: [] });";
    expect(await compile([{ name: 'wrong.ts', text }])).toContain('adresses');
  });
});

describe('the examples', () => {
  it('agree with the types', { timeout: 60_000 }, async () => {
    const names = (await readdir(path.join(root, 'examples'))).filter((name) => name.endsWith('.mjs'));
    expect(names.length).toBeGreaterThan(3);
    const files = names.map((name) => `examples/${name}`);
    // Plain JavaScript says no types of its own.
    expect(await node([...COMPILE, '--noImplicitAny', 'false', ...files])).toBe('');
  });

  it('drop-odd.test.mjs passes', async () => {
    const output = await node(['--test', '--test-reporter=tap', 'examples/drop-odd.test.mjs']);
    expect(output).toMatch(/# pass 1\n# fail 0/);
  });
});

describe('the package', () => {
  const open = `const { openTun, TunconnectorError } = await import('tunconnector');
    await openTun().catch((error) => console.log(error instanceof TunconnectorError, error.code));`;

  it('can be imported where there is no addon, and says so when a device is opened', async () => {
    const argv = ['--input-type=module', '--eval', open];
    expect(await node(argv, { TUNCONNECTOR_NATIVE: '0' })).toBe('true ERR_NATIVE\n');
  });

  it('can be imported where there is no Linux, and says so when a device is opened', async () => {
    const elsewhere = "Object.defineProperty(process, 'platform', { value: 'darwin' });";
    const argv = ['--input-type=module', '--eval', elsewhere + open];
    expect(await node(argv)).toBe('true ERR_PLATFORM\n');
  });
});
