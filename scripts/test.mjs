/**
 * `npm test`: sets up, runs vitest with the extra arguments, and lists what could not run and why.
 *
 *     npm test -- test/packet -t checksum
 *
 * TUNCONNECTOR_REPORT=FILE receives { passed, failed, skipped } for scripts that add things up.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root, run, withSetup } from './setup.mjs';

const PROGRAMS = [
  ...['ip', 'ping', 'iperf3', 'socat', 'tcpdump', 'tshark', 'curl', 'nft', 'ssh', 'ssh-keygen', 'sshd'],
  ...['gcc', 'python3', 'unshare', 'setpriv', 'tc', 'ethtool'],
  ...['ab', 'dig', 'traceroute', 'tracepath', 'scp', 'openssl', 'tmux'],
];
/** Large ones: whoever has a browser or etcd gets their tests, and CI has both. */
const LARGE = ['chromium', 'etcd'];
const ci = Boolean(process.env.CI) && process.env.CI !== 'false';

await withSetup({ want: ci ? [...PROGRAMS, ...LARGE] : PROGRAMS }, async () => {
  const scratch = await mkdtemp(path.join(tmpdir(), 'tunconnector-test-'));
  try {
    return await test(scratch, process.argv.slice(2));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
});

async function test(scratch, extra) {
  const report = path.join(scratch, 'report.json');
  const skips = path.join(scratch, 'skips.jsonl');
  await writeFile(skips, '');
  const argv = ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json'];
  const { code } = await run(process.execPath, [...argv, `--outputFile.json=${report}`, ...extra], {
    env: { ...process.env, TUNCONNECTOR_SKIPS: skips },
  });
  const summary = await readFile(report, 'utf8').then(JSON.parse, () => undefined);
  const skipped = summary ? await listSkipped(summary, skips, extra) : [];
  for (const line of skipped) console.log(line);
  if (skipped.length > 0 && ci) console.log('CI: what cannot run counts as failed');
  if (process.env.TUNCONNECTOR_REPORT) await writeReport(summary, skipped.length, code);
  return code !== 0 ? code : ci && skipped.length > 0 ? 1 : 0;
}

/** One line per test that did not run. Tests that `-t` leaves out are the user's wish and not listed. */
async function listSkipped(summary, skips, extra) {
  const reasons = new Map();
  for (const line of (await readFile(skips, 'utf8')).split('\n').filter(Boolean)) {
    const entry = JSON.parse(line);
    reasons.set(entry.file, new Set([...(reasons.get(entry.file) ?? []), ...entry.reasons]));
  }
  const filtered = extra.some((each) => /^(-t|--testNamePattern)/.test(each));
  const lines = [];
  for (const file of summary.testResults) {
    const why = reasons.get(file.name);
    if (!why && filtered) continue;
    for (const each of file.assertionResults) {
      if (each.status === 'passed' || each.status === 'failed') continue;
      const reason = why ? [...why].join('; ') : 'no reason is given (use needs() of test/needs.ts)';
      lines.push(`not run: ${path.relative(root, file.name)} > ${each.fullName}: ${reason}`);
    }
  }
  return lines;
}

/** A run that ended badly has at least one failure, whatever was counted. */
async function writeReport(summary, skipped, code) {
  const passed = summary?.numPassedTests ?? 0;
  const counted = (summary?.numFailedTests ?? 0) + (ci ? skipped : 0);
  const failed = code !== 0 ? Math.max(1, counted) : counted;
  await writeFile(process.env.TUNCONNECTOR_REPORT, JSON.stringify({ passed, failed, skipped }));
}
