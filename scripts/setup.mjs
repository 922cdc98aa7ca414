/**
 * What has to be there before a script of this repository can run: npm packages, programs, the addon, dist/.
 * Node's own modules only, because it runs before anything is installed.
 *
 *     await setup({ need: ['ip'], want: ['tshark'] });
 */
import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:fs';
import {
  access,
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Which Debian package brings a program. */
const DEBIAN = {
  ab: 'apache2-utils',
  'apt-get': 'apt',
  capinfos: 'wireshark-common',
  chromium: 'chromium',
  curl: 'curl',
  dig: 'bind9-dnsutils',
  dnsmasq: 'dnsmasq-base',
  etcd: 'etcd-server',
  ethtool: 'ethtool',
  'g++': 'g++',
  gcc: 'gcc',
  ip: 'iproute2',
  iperf3: 'iperf3',
  make: 'make',
  nft: 'nftables',
  nsenter: 'util-linux',
  objdump: 'binutils',
  openssl: 'openssl',
  ping: 'iputils-ping',
  python3: 'python3',
  scp: 'openssh-client',
  setpriv: 'util-linux',
  socat: 'socat',
  ssh: 'openssh-client',
  'ssh-keygen': 'openssh-client',
  sshd: 'openssh-server',
  tc: 'iproute2',
  taskset: 'util-linux',
  tcpdump: 'tcpdump',
  tmux: 'tmux',
  tracepath: 'iputils-tracepath',
  traceroute: 'traceroute',
  tshark: 'tshark',
  unshare: 'util-linux',
};
/** Packages that bring a service, and its name: it is neither started nor left to start at the next boot. */
const SERVICES = { 'openssh-server': 'ssh', 'etcd-server': 'etcd' };
const POLICY = '/usr/sbin/policy-rc.d';
const POLICY_MARK = '# made by tunconnector while it installs packages; may be deleted';
const TOOLCHAIN = ['python3', 'make', 'g++'];

/** A set-up that cannot go on. The message is all a person needs. */
export class SetupError extends Error {}

const say = (line) => process.stderr.write(`setup: ${line}\n`);

/**
 * Brings the checkout into a state in which scripts run, and says what it does on standard error.
 *
 * @param {object} [options]
 * @param {string[]} [options.need] programs without which there is no point in going on: SetupError
 * @param {string[]} [options.want] programs that are installed where that is allowed, else named and done without
 * @param {boolean} [options.build] build what is stale (default true)
 * @returns {Promise<{ missing: string[] }>} the wanted programs that are not there
 */
export async function setup({ need = [], want = [], build = true } = {}) {
  checkNode();
  // Debian leaves /usr/sbin out of the PATH of ordinary users; ip, nft, tcpdump and sshd live there.
  const directories = (process.env.PATH ?? '').split(':').filter(Boolean);
  const extra = ['/usr/local/sbin', '/usr/sbin', '/sbin'].filter((each) => !directories.includes(each));
  process.env.PATH = [...directories, ...extra].join(':');

  const needed = build ? [...TOOLCHAIN, ...need] : need;
  const missing = await provide(needed, want);
  const cache = path.join(root, '.cache');
  await mkdir(cache, { recursive: true }).catch(() => {});
  const release = await lock(
    path.join(cache, 'setup.lock'),
    'another run of this checkout to install and build',
  );
  try {
    await installPackages();
    if (build) await buildStale();
  } finally {
    release();
  }
  return { missing };
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new SetupError(`Node ${process.versions.node} is too old: install Node 20.19 or later (nodejs.org)`);
}

/** Full path of a program, or undefined. */
export async function findProgram(name) {
  for (const directory of (process.env.PATH ?? '').split(':')) {
    const file = path.join(directory || '.', name);
    const runs = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs && (await stat(file)).isFile()) return file;
  }
  return undefined;
}

const missingOf = async (programs) => {
  const found = await Promise.all(programs.map(findProgram));
  return programs.filter((_, index) => !found[index]);
};

async function provide(need, want) {
  const all = [...new Set([...need, ...want])];
  let missing = await missingOf(all);
  const packages = [...new Set(missing.map((program) => DEBIAN[program]).filter(Boolean))].sort();
  if (packages.length > 0 && process.geteuid?.() === 0 && (await findProgram('apt-get'))) {
    await installDebian(packages);
    missing = await missingOf(all);
  }
  if (missing.length === 0) return [];
  const listed = missing
    .map((program) => `${program}${DEBIAN[program] ? ` (${DEBIAN[program]})` : ''}`)
    .join(', ');
  const names = [...new Set(missing.map((program) => DEBIAN[program] ?? program))].sort().join(' ');
  const remedy = `install with: apt-get install ${names}`;
  if (missing.some((program) => need.includes(program))) {
    throw new SetupError(`missing programs (Debian package): ${listed}; ${remedy}`);
  }
  say(`missing programs (Debian package): ${listed}; what needs them is left out; ${remedy}`);
  return missing;
}

async function installDebian(packages) {
  say(`installing Debian packages: ${packages.join(' ')}`);
  const directory = (await isDirectory('/run/lock')) ? '/run/lock' : tmpdir();
  const release = await lock(path.join(directory, 'tunconnector-apt.lock'), 'another installation');
  const fresh = new Set(packages.filter((each) => !isInstalled(each)));
  const undo = await forbidServiceStarts();
  try {
    const install = [
      'install',
      '-y',
      '--no-install-recommends',
      '-o',
      'DPkg::Lock::Timeout=300',
      ...packages,
    ];
    const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' };
    const log = { code: 1, output: '' };
    Object.assign(log, await run('apt-get', ['-q', ...install], { env: environment, quiet: true }));
    if (log.code !== 0) {
      say('the package lists are old or empty: apt-get update');
      const update = await run('apt-get', ['-q', 'update'], { env: environment, quiet: true });
      if (update.code !== 0) say(`apt-get update failed: ${lastLine(update.output)}`);
      Object.assign(log, await run('apt-get', ['-q', ...install], { env: environment, quiet: true }));
    }
    if (log.code !== 0) say(`apt-get install failed: ${lastLine(log.output)}`);
    for (const [name, service] of Object.entries(SERVICES)) {
      if (fresh.has(name) && isInstalled(name))
        spawnSync('update-rc.d', [service, 'disable'], { stdio: 'ignore' });
    }
  } finally {
    await undo();
    release();
  }
}

const lastLine = (text) => text.trim().split('\n').at(-1);

const isInstalled = (name) =>
  /^Status: .* installed$/m.test(spawnSync('dpkg-query', ['--status', name], { encoding: 'utf8' }).stdout);

/** Debian starts a service when its package is installed, unless policy-rc.d exits with 101. */
async function forbidServiceStarts() {
  const present = await readFile(POLICY, 'utf8').catch(() => undefined);
  if (present !== undefined && !present.includes(POLICY_MARK)) return async () => {};
  await writeFile(POLICY, `#!/bin/sh\n${POLICY_MARK}\nexit 101\n`);
  await chmod(POLICY, 0o755);
  return () => rm(POLICY, { force: true });
}

async function installPackages() {
  const lockfile = path.join(root, 'package-lock.json');
  const installed = await modified(path.join(root, 'node_modules', '.package-lock.json'));
  if (installed >= (await modified(lockfile))) return;
  if (!(await findProgram('npm')))
    throw new SetupError('npm is missing; it comes with Node, or: apt-get install npm');
  say(installed === 0 ? 'installing npm packages (npm ci)' : 'package-lock.json is newer: npm ci');
  // No install scripts: the only one is our own, and the addon is built below, offline where that is possible.
  const { code, output } = await run(
    'npm',
    ['ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund'],
    {
      quiet: true,
    },
  );
  if (code !== 0) {
    process.stderr.write(output);
    throw new SetupError(`npm ci failed with exit code ${code}; its output is above`);
  }
}

async function buildStale() {
  // Each knows by itself whether there is something to do.
  await step('building the addon', ['scripts/build-native.mjs']);
  await pruneDist();
  await step('compiling TypeScript', ['scripts/build.mjs']);
}

/** Runs a build and says its name when there is something to wait for. */
async function step(title, argv) {
  const patience = setTimeout(() => say(title), 1000);
  const { code, output } = await run(process.execPath, argv, { quiet: true });
  clearTimeout(patience);
  if (code === 0) return;
  process.stderr.write(output);
  throw new SetupError(`${title} failed (node ${argv.join(' ')}: exit code ${code}); its output is above`);
}

/** tsc never deletes: what was compiled from a source that is gone goes here. */
async function pruneDist() {
  const dist = path.join(root, 'dist');
  const sources = path.join(root, 'src');
  const known = new Set(
    (await filesUnder(sources)).map((file) => path.relative(sources, file).replace(/\.ts$/, '')),
  );
  for (const file of await filesUnder(dist, (name) => /\.(js|d\.ts|js\.map)$/.test(name))) {
    if (!known.has(path.relative(dist, file).replace(/(\.js|\.d\.ts|\.js\.map)$/, '')))
      await rm(file, { force: true });
  }
}

// ── plumbing

const modified = (file) =>
  stat(file).then(
    (found) => found.mtimeMs,
    () => 0,
  );

const isDirectory = (file) =>
  stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );

async function filesUnder(directory, accept = () => true) {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const files = [];
  for (const entry of entries) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) files.push(...(await filesUnder(file, accept)));
    else if (entry.isFile() && accept(entry.name)) files.push(file);
  }
  return files;
}

/** Runs a program in the checkout. `quiet` keeps the output for the caller instead of showing it. */
export function run(command, argv, { env = process.env, quiet = false, cwd = root } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, argv, { cwd, env, stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit' });
    let output = '';
    child.stdout?.on('data', (chunk) => (output += chunk));
    child.stderr?.on('data', (chunk) => (output += chunk));
    child.on('error', (error) => resolve({ code: 127, output: `${command}: ${error.message}\n` }));
    child.on('close', (code, signal) => {
      resolve({ code: code ?? 1, output: signal ? `${output}${command}: ended by ${signal}\n` : output });
    });
  });
}

/**
 * Takes an exclusive lock that the kernel gives back however this process ends: flock(1) holds it for as long as
 * our end of a pipe is open. Where there is no flock(1), one run at a time is the user's affair.
 *
 * @returns {Promise<() => void>} releases it
 */
export async function lock(file, waitingFor) {
  if (!(await findProgram('flock'))) return () => {};
  const opened = await open(file, 'a').catch((error) => {
    throw new SetupError(`cannot write ${file} (${error.code}); run as its owner`);
  });
  await opened.close();
  const holder = spawn('flock', ['--exclusive', await realpath(file), 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const patience = setTimeout(() => say(`waiting for ${waitingFor}`), 1000);
  try {
    await new Promise((resolve, reject) => {
      holder.stdout.once('data', resolve);
      holder.once('error', reject);
      holder.once('close', () => reject(new SetupError(`cannot lock ${file}; delete it and try again`)));
    });
  } finally {
    clearTimeout(patience);
  }
  return () => holder.stdin.end();
}

/** Runs `main` and turns a SetupError into one line and exit code 1. */
export async function withSetup(options, main) {
  try {
    process.exitCode = await main(await setup(options));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}

// `node scripts/setup.mjs [--no-build] [PROGRAM...]`
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const words = process.argv.slice(2);
  const need = words.filter((word) => !word.startsWith('-'));
  await withSetup({ need, build: !words.includes('--no-build') }, () => 0);
}
