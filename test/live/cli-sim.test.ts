/** `tunconnector sim run`: from a file to tables, captures that others read, and a verdict on whether it is repeated. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { needs } from '../needs.ts';

const COMMAND = path.join(import.meta.dirname, '..', '..', 'bin', 'tunconnector.js');
const directory = mkdtempSync(path.join(tmpdir(), 'cli-sim-'));
afterAll(() => rmSync(directory, { recursive: true }));

const LAB = `
seed: 7
for: 3s
hosts: { a: {}, b: {} }
links:
  wire: { between: [a 10.0.0.1/24, b 10.0.0.2/24], impair: delay 10ms loss 2% }
flows:
  bulk: { kind: tcp, from: a, to: b, bytes: 200kb }
  pings: { kind: ping, from: b, to: a, every: 100ms }
faults:
  - { at: 2s, down: wire }
`;

function written(name: string, text: string): string {
  const file = path.join(directory, name);
  writeFileSync(file, text);
  return file;
}

function run(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, 'sim', ...words], {
    encoding: 'utf8',
    cwd: directory,
  });
  return { status, stdout, stderr };
}

it('says what links and flows did, as tables and as JSON, the same for the same seed', () => {
  const file = written('lab.yaml', LAB);
  const text = run('run', file);
  expect(text).toMatchObject({ status: 0, stderr: '' });
  expect(text.stdout).toMatch(/2 hosts, 1 links, seed 7: 3\.0 s of virtual time/);
  expect(text.stdout).toMatch(/2\.000000 - link wire is down/);
  expect(text.stdout).toMatch(/bulk \(tcp\) .* done /);
  expect(text.stdout).toMatch(/Processor time is nothing in virtual time/);
  const [one, two, other] = [['9'], ['9'], ['10']].map(([seed]) =>
    JSON.parse(run('run', file, '--seed', seed!, '--for', '1500ms', '--json').stdout),
  );
  expect(one).toMatchObject({
    seed: 9,
    time: 1.5e9,
    log: [],
    flows: [{ state: 'done', receivedBytes: 204_800 }, {}],
  });
  expect(two.fingerprint).toBe(one.fingerprint);
  expect(other.fingerprint).not.toBe(one.fingerprint);
}, 60_000);

it('says what switches did, and writes their links as Ethernet', () => {
  const file = written(
    'lan.yaml',
    `
for: 2s
hosts: { a: {}, b: {} }
switches: { sw: {} }
links: { a: { between: [a 10.0.0.1/24, sw] }, b: { between: [sw, b 10.0.0.2/24], impair: delay 5ms } }
flows: { pings: { kind: ping, from: a, to: b } }
`,
  );
  const out = path.join(directory, 'lan');
  const { status, stdout } = run('run', file, '--out', out);
  expect(status).toBe(0);
  expect(stdout).toMatch(/2 hosts, 1 switches, 2 links, seed 1/);
  expect(stdout).toMatch(/switch .* links .* frames .* to one .* to all .* dropped/);
  expect(stdout).toMatch(/sw +│ +2 │/);
  if (needs('tshark')) return;
  const fields = ['-T', 'fields', '-e', 'frame.interface_name', '-e', 'arp.opcode', '-e', 'eth.dst'];
  const read = spawnSync('tshark', ['-r', path.join(out, 'links', 'b.pcapng'), '-Y', 'arp', ...fields], {
    encoding: 'utf8',
  });
  const rows = read.stdout.trim().split('\n');
  expect(rows).toContain('b\t1\tff:ff:ff:ff:ff:ff');
  expect(rows.filter((row) => /^sw\t2\t02:/.test(row))).toHaveLength(1);
}, 60_000);

it('writes captures that tshark reads, logs and series, and is the same run with them', () => {
  const file = written('lab.yaml', LAB);
  const out = path.join(directory, 'out');
  const withFiles = JSON.parse(run('run', file, '--out', out, '--json').stdout);
  expect(withFiles.fingerprint).toBe(JSON.parse(run('run', file, '--json').stdout).fingerprint);
  expect(readFileSync(path.join(out, 'events.log'), 'utf8')).toBe('2.000000000 - link wire is down\n');
  const [head, ...rows] = readFileSync(path.join(out, 'flows.csv'), 'utf8').trim().split('\n');
  expect(head).toBe('time_s,flow,goodput_bit_s,rtt_ms,cwnd_bytes,retransmissions');
  expect(rows.filter((row) => row.includes(',pings,'))).toHaveLength(30);
  const svg = readFileSync(path.join(out, 'flows.svg'), 'utf8');
  expect(svg.match(/<path d="M[\d.]+ [\d.]+L/g)!.length).toBeGreaterThanOrEqual(4);
  if (needs('tshark')) return;
  const fields = ['frame.time_epoch', 'frame.interface_name', 'icmp.type'].flatMap((name) => ['-e', name]);
  const capture = path.join(out, 'links', 'wire.pcapng');
  const { stdout } = spawnSync('tshark', ['-r', capture, '-Y', 'icmp', '-T', 'fields', ...fields], {
    encoding: 'utf8',
  });
  const pings = stdout
    .trim()
    .split('\n')
    .map((line) => line.split('\t'));
  // The request as it leaves b, and as it reaches a, 10 ms later to the nanosecond.
  const seen = (name: string, type: string) => pings.filter((each) => each[1] === name && each[2] === type);
  expect(seen('b', '8')[0]![0]).toBe('1000000000.000000000');
  expect(seen('a', '8')[0]![0]).toBe('1000000000.010000000');
  // Until the link is down.
  expect(seen('b', '8').length).toBe(21);
  const dropped = spawnSync('tshark', ['-r', capture, '-Y', 'frame.comment contains "dropped"'], {
    encoding: 'utf8',
  });
  expect(dropped.stdout.trim().split('\n').length).toBeGreaterThan(3);
}, 60_000);

it('finds that two processes do the same, or the first event in which they do not', () => {
  const same = run('run', written('lab.yaml', LAB), '--check-determinism');
  expect(same).toMatchObject({ status: 0, stderr: '' });
  expect(same.stdout).toMatch(/^the same in two processes: [\d ]+ events, packets and log lines\n$/);
  written(
    'chance.mjs',
    `export default (host) => host.runtime.timer(1e9, () => {
       host.stack.udp({ remote: '10.0.0.1:9' }).send(Uint8Array.of(1));
       host.log('drew ' + Math.random());
     });`,
  );
  const file = written('chance.yaml', LAB.replace('b: {}', 'b: { program: ./chance.mjs }'));
  const differs = run('run', file, '--check-determinism', '--json');
  expect(differs.status).toBe(1);
  expect(JSON.parse(differs.stdout)).toMatchObject({
    same: false,
    difference: { at: 1e9, where: 'b', first: expect.stringMatching(/^says: drew 0\.\d+$/) },
  });
}, 60_000);

it('tells what it does not understand', () => {
  expect(run('walk', 'x.yaml')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('expected sim run'),
  });
  expect(run('run', 'none.yaml')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('none.yaml: cannot be read'),
  });
  const broken = written('broken.yaml', 'hosts: { a: {} }\nlink: {}\n');
  expect(run('run', broken).stderr).toMatch(/broken\.yaml: found the unknown key "link", expected one of/);
  expect(run('run', broken, '--check-determinism')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('unknown key'),
  });
  expect(run('run', broken, '--seed', 'x')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('--seed: found "x"'),
  });
  expect(run('--help').stdout).toMatch(/sim run lab\.yaml --check-determinism/);
  expect(existsSync(path.join(directory, 'hosts'))).toBe(false);
}, 60_000);

it('repeats a whole chain in another process', () => {
  const lab = path.join(import.meta.dirname, '..', '..', 'examples', 'sim-chain', 'lab.yaml');
  const same = run('run', lab, '--check-determinism');
  expect(same).toMatchObject({ status: 0, stderr: '' });
  expect(same.stdout).toMatch(/^the same in two processes: /);
}, 120_000);
