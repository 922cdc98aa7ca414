/**
 * Runs the addon's tests on a build with ASan and UBSan. Their library has to be there before Node's own allocator,
 * so it is preloaded; leaks are not looked for, for Node itself has some at its end.
 *
 *   test-sanitized.mjs [ARGUMENTS OF VITEST]
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (argv, env = {}) =>
  spawnSync(argv[0], argv.slice(1), { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } })
    .status ?? 1;

const built = run([process.execPath, 'scripts/build-native.mjs', '--sanitize']);
if (built !== 0) process.exit(built);
const found = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' });
const library = found.stdout?.trim() ?? '';
if (!library.startsWith('/')) {
  console.error('g++ has no libasan.so; install the libasan of its version (libasan8 with GCC 12)');
  process.exit(1);
}
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
process.exit(
  run([process.execPath, vitest, 'run', 'test/native', ...process.argv.slice(2)], {
    LD_PRELOAD: library,
    ASAN_OPTIONS: 'detect_leaks=0',
    TUNCONNECTOR_NATIVE: join(root, 'build/sanitize/tunconnector.node'),
  }),
);
