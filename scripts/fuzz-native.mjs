/**
 * Fuzzes what meets foreign bytes in the addon under ASan and UBSan: summing, parsing and cutting (native/checksum.cc,
 * native/offload.cc), and merging (native/coalesce.cc). Each for the time given.
 *
 *   fuzz-native.mjs [SECONDS] [SEED]    default 10 s, seed 1; with clang libFuzzer chooses its own
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const seconds = Number(process.argv[2] ?? 10);
const seed = process.argv[3] ?? '1';
if (!(seconds > 0)) {
  console.error(`SECONDS is "${process.argv[2]}", expected a number over 0`);
  process.exit(2);
}

const clang = spawnSync('clang++', ['--version']).status === 0;
const include = `-I${dirname(dirname(process.execPath))}/include/node`;
const native = (name) => join(root, 'native', name);

function build(target, sources) {
  const binary = join(root, 'build/fuzz', target);
  mkdirSync(dirname(binary), { recursive: true });
  const compiled = spawnSync(
    clang ? 'clang++' : 'g++',
    [
      ...['-std=c++17', '-O1', '-g', '-Wall', '-Wextra', '-fno-exceptions', '-fno-rtti'],
      ...(clang ? ['-fsanitize=fuzzer,address,undefined', '-DLIBFUZZER'] : ['-fsanitize=address,undefined']),
      ...['-fno-sanitize-recover=undefined', '-DNAPI_VERSION=9', include, '-o', binary],
      ...sources.map(native),
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  if (compiled.status !== 0) {
    console.error('the fuzzer does not build; install g++ or clang, and Node with its headers');
    process.exit(1);
  }
  return binary;
}

const targets = [
  build('offload_fuzz', ['fuzz/offload_fuzz.cc', 'offload.cc', 'checksum.cc']),
  build('coalesce_fuzz', ['fuzz/coalesce_fuzz.cc', 'coalesce.cc', 'offload.cc', 'checksum.cc']),
];
for (const binary of targets) {
  const args = clang ? [`-max_total_time=${seconds}`, '-max_len=70000'] : [String(seconds), seed];
  const run = spawnSync(binary, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (run.status !== 0) process.exit(run.status ?? 1);
}
