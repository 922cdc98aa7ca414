/**
 * Builds the addon, if it is stale: the hash of its sources, of binding.gyp and of the Node it is built for is kept
 * beside it. Works without network where the headers of the running Node are installed with it.
 *
 *   build-native.mjs              build/Release/tunconnector.node
 *   build-native.mjs --prebuild   prebuilds/linux-ARCH/tunconnector.LIBC.node, to be shipped
 *   build-native.mjs --sanitize   build/sanitize/tunconnector.node with ASan and UBSan. To use it:
 *                                 LD_PRELOAD=$(g++ -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
 *                                 TUNCONNECTOR_NATIVE=$PWD/build/sanitize/tunconnector.node npx vitest run test/native
 *   --force                       also when nothing has changed
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const mode = process.argv.includes('--prebuild')
  ? 'prebuild'
  : process.argv.includes('--sanitize')
    ? 'sanitize'
    : 'build';
const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc';
const target = {
  build: 'build/Release/tunconnector.node',
  prebuild: `prebuilds/${process.platform}-${process.arch}/tunconnector.${libc}.node`,
  sanitize: 'build/sanitize/tunconnector.node',
}[mode];

function fail(reason, remedy) {
  console.error(`building the native addon failed: ${reason}; ${remedy}`);
  process.exit(1);
}

/** The sources, but not the fuzzer's. */
function sources() {
  const native = join(root, 'native');
  return readdirSync(native)
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort()
    .map((name) => join(native, name));
}

function fingerprint() {
  const hash = createHash('sha256');
  for (const file of [...sources(), join(root, 'binding.gyp')]) {
    hash.update(`${relative(root, file)}\0`).update(readFileSync(file));
  }
  hash.update(`${process.arch} ${libc} napi ${process.versions.napi} modules ${process.versions.modules}`);
  return hash.digest('hex');
}

/** The folder that holds include/node of exactly this Node, or undefined. */
function headersOfThisNode() {
  const prefix = dirname(dirname(process.execPath));
  const versionFile = join(prefix, 'include/node/node_version.h');
  if (!existsSync(versionFile)) return undefined;
  const text = readFileSync(versionFile, 'utf8');
  const part = (name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1];
  const version = `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`;
  return version === process.version ? prefix : undefined;
}

function run(command, args, env = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`;
  if (result.error) return { ok: false, output: result.error.message };
  return { ok: result.status === 0, output };
}

function has(command) {
  return run(command, ['--version']).ok;
}

function needTools(...tools) {
  const packages = { python3: 'python3', make: 'make', 'g++': 'g++' };
  const missing = tools.filter((tool) => !has(tool));
  if (missing.length === 0) return;
  fail(
    `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing`,
    `install with: apt-get install -y ${missing.map((tool) => packages[tool]).join(' ')}`,
  );
}

/** The lines of a compiler's or gyp's output that say why. */
function reason(output) {
  const lines = output.split('\n').filter((line) => /error|ERR!|EAI_AGAIN|ENOTFOUND|not found/i.test(line));
  return (lines.length > 0 ? lines : output.trim().split('\n').slice(-3)).slice(0, 8).join('\n  ');
}

function packageBin(name, path) {
  try {
    return join(dirname(createRequire(join(root, 'x.js')).resolve(`${name}/package.json`)), path);
  } catch {
    return fail(`the npm package ${name} is missing`, 'run `npm ci` first');
  }
}

function buildWithGyp() {
  needTools('python3', 'make', 'g++');
  const headers = headersOfThisNode();
  const env = headers === undefined ? {} : { npm_package_config_node_gyp_nodedir: headers };
  const [script, ...args] =
    mode === 'prebuild'
      ? [packageBin('prebuildify', 'bin.js'), '--napi', '--strip', '--tag-libc', '--name=tunconnector']
      : [packageBin('node-gyp', 'bin/node-gyp.js'), 'configure', 'build'];
  const result = run(process.execPath, [script, ...args], env);
  if (result.ok) return result.output;
  return fail(
    `\n  ${reason(result.output)}\n`,
    headers === undefined
      ? `the headers of Node ${process.version} are not installed beside it and have to be downloaded: check the network, or install Node with its headers`
      : 'see the lines above',
  );
}

function buildSanitized() {
  needTools('g++');
  const headers = headersOfThisNode();
  if (headers === undefined) fail(`no headers of Node ${process.version}`, 'install Node with its headers');
  mkdirSync(join(root, dirname(target)), { recursive: true });
  const files = sources().filter((file) => file.endsWith('.cc') && !file.endsWith('stub.cc'));
  const result = run('g++', [
    ...['-std=c++17', '-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address,undefined'],
    ...[
      '-fno-sanitize-recover=undefined',
      '-Wall',
      '-Wextra',
      '-fno-exceptions',
      '-fno-rtti',
      '-fPIC',
      '-shared',
    ],
    ...['-DNAPI_VERSION=9', `-I${headers}/include/node`, '-o', target, ...files],
  ]);
  if (!result.ok) fail(`\n  ${reason(result.output)}\n`, 'see the lines above');
  return result.output;
}

const stampFile = join(root, `build/.stamp-${mode}`);
const stamp = fingerprint();
const fresh =
  existsSync(join(root, target)) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
if (fresh && !process.argv.includes('--force')) {
  // Whoever compares times with the sources shall see that it is current.
  utimesSync(join(root, target), new Date(), new Date());
  process.exit(0);
}

const started = performance.now();
const output = mode === 'sanitize' ? buildSanitized() : buildWithGyp();
const warnings = output.split('\n').filter((line) => /warning:/.test(line) && /native\//.test(line));
if (warnings.length > 0) fail(`\n  ${warnings.join('\n  ')}\n`, 'the addon compiles without warnings');
if (!existsSync(join(root, target))) fail(`${target} was not written`, 'run with --force');
mkdirSync(dirname(stampFile), { recursive: true });
writeFileSync(stampFile, stamp);
console.log(`built ${target} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
