/**
 * `npm run bench`: sets up, builds the product, the harness and the C twins, and measures. `npm run bench -- --help`
 * has the options, docs/bench.md how to read the result.
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { lock, root, run, SetupError, withSetup } from './setup.mjs';

const NEED = ['gcc', 'ip', 'iperf3', 'nsenter', 'ping', 'taskset', 'unshare'];
const BUILD = path.join(root, 'build', 'bench');
const TSC = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
/** Warnings are errors: the twins are read like product code. Each finds the processor's abilities when it runs. */
const CFLAGS = ['-O2', '-std=gnu17', '-Wall', '-Wextra', '-Werror'];

await withSetup({ need: NEED }, async () => {
  await mkdir(path.join(BUILD, 'c'), { recursive: true });
  const release = await lock(path.join(BUILD, 'lock'), 'another run of this checkout to build');
  try {
    await command('compiling the harness', process.execPath, [TSC, '-b', 'bench']);
    await buildTwins();
  } finally {
    release();
  }
  const { main } = await import('../build/bench/main.js');
  return main(process.argv.slice(2));
});

async function buildTwins() {
  const folder = path.join(root, 'bench', 'c');
  const names = (await readdir(folder)).filter((name) => /\.[ch]$/.test(name)).sort();
  const newest = Math.max(...(await Promise.all(names.map((name) => modified(path.join(folder, name))))));
  for (const name of names.filter((each) => each.endsWith('.c'))) {
    const file = path.join(BUILD, 'c', name.slice(0, -2));
    if ((await modified(file)) >= newest) continue;
    const fresh = `${file}.new`;
    await command(`compiling ${name}`, 'gcc', [...CFLAGS, '-o', fresh, path.join(folder, name)]);
    await rename(fresh, file);
  }
  const known = names.map((name) => name.slice(0, -2));
  for (const name of await readdir(path.join(BUILD, 'c'))) {
    if (!known.includes(name)) await rm(path.join(BUILD, 'c', name), { force: true });
  }
}

function modified(file) {
  return stat(file).then(
    (found) => found.mtimeMs,
    () => 0,
  );
}

async function command(title, program, argv) {
  const { code, output } = await run(program, argv, { quiet: true });
  if (code === 0) return;
  process.stderr.write(output);
  throw new SetupError(`${title} failed (exit code ${code}); its output is above`);
}
