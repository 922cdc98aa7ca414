/**
 * Looks at the package as a user gets it: builds a clean copy, packs it, asks publint and are-the-types-wrong,
 * installs the tarball into an empty project, and uses it there from JavaScript and TypeScript.
 *
 * TUNCONNECTOR_REPORT=FILE receives { passed, failed } for scripts that add things up.
 */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root, run, SetupError, withSetup } from './setup.mjs';

/** What RHEL 8 and Debian 10 have, and what Node's own binaries ask for: glibc 2.28, the C++ library of GCC 8. */
const NEWEST = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11' };
const NOT_COPIED = new Set(['.git', '.cache', 'node_modules', 'dist', 'build', 'prebuilds']);
const specifier = (entry) => `tunconnector${entry.slice(1)}`;
const bin = (name) => path.join(root, 'node_modules', '.bin', name);

let passed = 0;
let failed = 0;

await withSetup({ need: ['objdump', 'tar'], build: false }, async () => {
  const scratch = await mkdtemp(path.join(tmpdir(), 'tunconnector-package-'));
  try {
    await checkAll(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  if (process.env.TUNCONNECTOR_REPORT) {
    await writeFile(process.env.TUNCONNECTOR_REPORT, JSON.stringify({ passed, failed }));
  }
  return failed === 0 ? 0 : 1;
});

/** In the order in which one thing needs the other; what has nothing to stand on is not tried. */
async function checkAll(scratch) {
  const copy = path.join(scratch, 'copy');
  const project = path.join(scratch, 'project');
  const built = await check('builds from a clean copy', () => build(copy));
  const tarball = built && (await check('packs', () => pack(copy, scratch)));
  if (!tarball) return;
  const unpacked = await unpack(tarball, scratch);
  const { exports, bin: commands } = JSON.parse(await readFile(path.join(unpacked, 'package.json'), 'utf8'));
  const entries = Object.keys(exports).filter((each) => !each.endsWith('.json'));

  await check('holds no tests and no build residue', () => lookInside(unpacked));
  await check('addon needs no newer C and C++ library', () => checkLibraries(unpacked));
  await check('publint', () => quietly(bin('publint'), ['run', tarball, '--strict']));
  await check('are the types wrong', () => quietly(bin('attw'), [tarball, '--profile', 'esm-only']));
  if (!(await check('installs into an empty project', () => install(project, tarball)))) return;
  await check('addon loads there', () => loadAddon(project));
  await check('JavaScript imports every export', () => importAll(project, entries));
  await check('TypeScript compiles against every export', () => compile(project, entries));
  for (const command of Object.keys(commands)) {
    await check(`${command} --version`, () =>
      quietly(path.join(project, 'node_modules/.bin', command), ['--version']),
    );
  }
}

/** Runs one check and says how it went. Its result, or true, when it passed. */
async function check(title, body) {
  try {
    const result = (await body()) ?? true;
    passed++;
    console.log(`ok      ${title}`);
    return result;
  } catch (error) {
    failed++;
    console.log(`FAILED  ${title}\n${error instanceof SetupError ? error.message : error.stack}`);
    return undefined;
  }
}

function refuse(message) {
  throw new SetupError(message);
}

/** Runs a program and returns its output; one that fails is a failed check that shows the output. */
async function quietly(command, argv, options = {}) {
  const { code, output } = await run(command, argv, { quiet: true, ...options });
  if (code !== 0) refuse(`${path.basename(command)} ${argv.join(' ')}: exit code ${code}\n${output}`);
  return output;
}

async function build(copy) {
  await cp(root, copy, {
    recursive: true,
    filter: (source) => !NOT_COPIED.has(path.relative(root, source)) && !source.endsWith('.tgz'),
  });
  await symlink(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
  await quietly(process.execPath, ['scripts/build.mjs'], { cwd: copy });
  await quietly(process.execPath, ['scripts/build-native.mjs', '--prebuild'], { cwd: copy });
}

async function pack(copy, scratch) {
  const output = await quietly('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], {
    cwd: copy,
  });
  return path.join(scratch, JSON.parse(output.slice(output.search(/^[[{]/m)))[0].filename);
}

async function unpack(tarball, scratch) {
  await quietly('tar', ['-xzf', tarball, '-C', scratch]);
  return path.join(scratch, 'package');
}

async function listFiles(directory, suffix = '') {
  const names = await readdir(directory, { recursive: true });
  return names.filter((name) => name.endsWith(suffix));
}

async function lookInside(unpacked) {
  const files = await listFiles(unpacked);
  const wrong = files.filter((name) =>
    /(^|\/)(test|\.cache|node_modules)(\/|$)|\.test\.|\.(tsbuildinfo|stamp|o)$/.test(name),
  );
  if (wrong.length > 0) refuse(`the tarball holds ${wrong.join(', ')}`);
  const page = [
    'impair/index.html',
    'impair/main.js',
    'chain/index.html',
    'chain/main.js',
    'shared/page.css',
  ].map((name) => `dist/control/page/${name}`);
  const missing = ['README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', ...page].filter(
    (name) => !files.includes(name),
  );
  if (missing.length > 0) refuse(`the tarball lacks ${missing.join(', ')}`);
}

async function checkLibraries(unpacked) {
  const addons = await listFiles(path.join(unpacked, 'prebuilds'), '.node');
  if (addons.length === 0) refuse('the tarball holds no prebuilt addon');
  for (const addon of addons) {
    const tooNew = [];
    const symbols = await quietly('objdump', ['-T', path.join(unpacked, 'prebuilds', addon)]);
    for (const line of symbols.split('\n')) {
      const [, library, version] = /\((GLIBC|GLIBCXX|CXXABI)_([\d.]+)\)/.exec(line) ?? [];
      if (library && isNewer(version, NEWEST[library])) {
        tooNew.push(
          `${line.trim().split(/\s+/).at(-1)} (${library} ${version}, newer than ${NEWEST[library]})`,
        );
      }
    }
    if (tooNew.length > 0) refuse(`${addon} needs ${tooNew.join(', ')}`);
  }
}

function isNewer(version, limit) {
  const [a, b] = [version, limit].map((each) => each.split('.').map(Number));
  const at = a.findIndex((part, index) => part !== (b[index] ?? 0));
  return at >= 0 && a[at] > (b[at] ?? 0);
}

async function install(project, tarball) {
  await mkdir(project);
  await writeFile(
    path.join(project, 'package.json'),
    '{ "name": "user", "private": true, "type": "module" }\n',
  );
  await quietly('npm', ['install', '--no-audit', '--no-fund', tarball], { cwd: project });
}

/** As the package would: by node-gyp-build, from the prebuild, for there is nothing else. */
async function loadAddon(project) {
  await writeFile(
    path.join(project, 'addon.mjs'),
    `import { createRequire } from 'node:module';
    const directory = new URL('./node_modules/tunconnector/', import.meta.url).pathname;
    const addon = createRequire(directory + 'package.json')('node-gyp-build')(directory);
    if (!(addon.now() > 0)) throw new Error('the addon loads, but now() does not answer');\n`,
  );
  await quietly(process.execPath, ['addon.mjs'], { cwd: project });
}

async function importAll(project, entries) {
  const names = {};
  for (const entry of entries) {
    const code = `console.log(JSON.stringify(Object.keys(await import('${specifier(entry)}'))))`;
    names[entry] = JSON.parse(
      await quietly(process.execPath, ['--input-type=module', '-e', code], { cwd: project }),
    );
    if (names[entry].length === 0) refuse(`${specifier(entry)} exports nothing`);
  }
  await writeFile(path.join(project, 'names.json'), JSON.stringify(names));
}

async function compile(project, entries) {
  const names = JSON.parse(await readFile(path.join(project, 'names.json'), 'utf8'));
  const lines = entries.flatMap((entry, index) => [
    `import { ${names[entry].map((name) => `${name} as ${name}${index}`).join(', ')} } from '${specifier(entry)}';`,
    `export const used${index}: unknown[] = [${names[entry].map((name) => `${name}${index}`).join(', ')}];`,
  ]);
  await writeFile(path.join(project, 'consumer.ts'), `${lines.join('\n')}\n`);
  const settings = {
    compilerOptions: {
      ...{ target: 'ES2022', module: 'NodeNext', moduleResolution: 'NodeNext', strict: true, noEmit: true },
      ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, verbatimModuleSyntax: true },
      ...{ skipLibCheck: false, types: ['node'], typeRoots: [path.join(root, 'node_modules', '@types')] },
    },
    files: ['consumer.ts'],
  };
  await writeFile(path.join(project, 'tsconfig.json'), JSON.stringify(settings));
  await quietly(bin('tsc'), ['-p', 'tsconfig.json'], { cwd: project });
}
