import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit.ts';
import { type ErrorCode, TunconnectorError } from '../../src/errors.ts';
import type { CaptureRecord } from '../../src/packet/capture.ts';
import { LinkType } from '../../src/packet/capture.ts';
import { createWorld } from '../../src/testing/index.ts';
import { root } from '../house/sources.ts';
import { needs } from '../needs.ts';
import { readAll } from '../packet/pcap-helpers.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-live-capture-'));
afterAll(() => rmSync(directory, { recursive: true }));

const script = (name: string) => path.join(root, 'test/live/fixtures', name);
const COMMAND = script('capture-command.mjs');
const env = { ...process.env, XDG_RUNTIME_DIR: directory };
let files = 0;
const newFile = () => path.join(directory, `${files++}.pcapng`);
const capturedBy = (file: string) => readAll(readFileSync(file));

/** Two hosts on a wire. */
async function wired() {
  const world = await createWorld();
  const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
  await world.wire(a, b, { a: '10.1.0.1/24', b: '10.1.0.2/24' });
  return { a, b, [Symbol.asyncDispose]: () => world.close() };
}

/** Two hosts and a network between them, which others can look into. */
async function networked() {
  const world = await createWorld();
  const [a, b] = await Promise.all([world.host('a'), world.host('b')]);
  const name = `net${files++}`;
  const network = a.node(script('network-with-control.mjs'), [name, a.path, b.path], { env });
  await network.waitFor('up');
  const ping = (count: number, size = 56) =>
    a.exec(['ping', '-q', '-i', '0.01', '-W', '1', '-c', String(count), '-s', String(size), '10.9.0.2']);
  return { a, b, name, network, ping, [Symbol.asyncDispose]: () => world.close() };
}

/** Waits until a capture into `file` has begun: its header is written. */
async function begun(file: string): Promise<void> {
  while (!existsSync(file) || readFileSync(file).length === 0) await new Promise((r) => setTimeout(r, 10));
}

const exitCode = (code: ErrorCode) => exitCodeOf(new TunconnectorError(code, ''));
const icmp = (records: CaptureRecord[], at: number) => records.filter((each) => each.bytes[at + 9] === 1);

describe.skipIf(needs('netns', 'tun', 'ping', 'ip'))('tunconnector capture of a network', () => {
  it('writes each link as an interface, with dropped packets and why, until Ctrl-C', async () => {
    await using run = await networked();
    const file = newFile();
    const capture = run.a.node(COMMAND, [run.name, file, '--drops'], { env });
    await begun(file);
    expect((await run.ping(5)).stdout).toContain('5 received');
    expect((await run.ping(3, 57)).stdout).toContain(' 0 received');
    await new Promise((resolve) => setTimeout(resolve, 150));
    const { code } = await capture.stop('SIGINT');
    const records = icmp(capturedBy(file), 0);
    const count = (name: string) => records.filter((each) => each.interface.name === name).length;
    expect(['left.out -> odd.in', 'odd.out -> right.in', 'right.out -> left.in', 'drops'].map(count)).toEqual(
      [8, 5, 5, 3],
    );
    const dropped = records.filter((each) => each.comments.length > 0);
    expect(new Set(dropped.flatMap((each) => each.comments))).toEqual(new Set(['dropped: odd-length (odd)']));
    expect([code, capture.stdout, capture.stderr]).toEqual([0, '', 'tunconnector: 21 packets captured\n']);
  });

  it.skipIf(needs('tcpdump'))('feeds tcpdump through a pipe', async () => {
    await using run = await networked();
    const pipe = `exec "$0" "$@" --count 6 | tcpdump -n -r - 2>/dev/null`;
    const capture = run.a.spawn(['sh', '-c', pipe, process.execPath, COMMAND, run.name, '--link', 'right'], {
      env,
    });
    // Nothing shows that it has begun: pings go on until it has seen enough.
    while (capture.running) await run.ping(2);
    const { code } = await capture.ended;
    expect(capture.stdout).toMatch(
      /IP 10.9.0.1 > 10.9.0.2: ICMP echo request[\s\S]*IP 10.9.0.2 > 10.9.0.1: ICMP echo reply/,
    );
    expect([code, capture.stderr]).toEqual([0, 'tunconnector: 6 packets captured\n']);
  });

  it('ends after its time, and when the network does, with a file that is complete', async () => {
    await using run = await networked();
    const [short, long] = [newFile(), newFile()];
    const timed = run.a.node(COMMAND, [run.name, short, '--duration', '300ms'], { env });
    const open = run.a.node(COMMAND, [run.name, long], { env });
    await begun(long);
    await run.ping(2);
    expect((await timed.ended).code).toBe(0);
    await run.network.stop('SIGTERM');
    expect((await open.ended).code).toBe(0);
    expect(icmp(capturedBy(long), 0)).toHaveLength(6);
    expect(open.stderr).toMatch(/^tunconnector: \d+ packets captured\n$/);
    expect(existsSync(path.join(directory, 'tunconnector', `${run.name}.sock`))).toBe(false);
  });

  it.skipIf(!existsSync('/dev/full'))('tells of a full disk, and the network goes on', async () => {
    await using run = await networked();
    const { code, stderr } = await run.a.exec([process.execPath, COMMAND, run.name, '/dev/full'], { env });
    expect(code).toBe(exitCode('ERR_CAPTURE'));
    expect(stderr).toMatch(
      /^tunconnector: \/dev\/full cannot be written \(ENOSPC\); make room on the disk.*\n$/,
    );
    expect((await run.ping(3)).stdout).toContain('3 received');
  });

  it('refuses a link that is not there with those that are', async () => {
    await using run = await networked();
    const file = newFile();
    const { code, stderr } = await run.a.exec(
      [process.execPath, COMMAND, run.name, file, '--link', 'middle'],
      { env },
    );
    expect(code).toBe(2);
    expect(stderr).toContain(
      'no link matches "middle"; choose from "left.out -> odd.in", "odd.out -> right.in"',
    );
  });
});

describe.skipIf(needs('netns', 'tun', 'ping', 'ip'))('tunconnector capture of an interface', () => {
  it('sees both directions, with the name of the interface', async () => {
    await using run = await wired();
    const file = newFile();
    const capture = run.a.node(COMMAND, ['eth0', file], { env });
    await begun(file);
    await run.a.exec(['ping', '-q', '-i', '0.01', '-c', '5', '10.1.0.2'], { check: true });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { code } = await capture.stop('SIGINT');
    const records = icmp(capturedBy(file), 14);
    expect(records.map((each) => each.bytes[34])).toEqual([8, 0, 8, 0, 8, 0, 8, 0, 8, 0]);
    expect(records[0]!.interface).toMatchObject({ name: 'eth0', linkType: LinkType.Ethernet });
    // The clock is the real one.
    expect(Math.abs(records[0]!.seconds - Date.now() / 1000)).toBeLessThan(30);
    expect([code, capture.stderr]).toEqual([
      0,
      expect.stringMatching(/^tunconnector: \d+ packets captured\n$/),
    ]);
  });

  it('of a TUN holds IP packets', async () => {
    await using run = await networked();
    const file = newFile();
    // The network's name is another: this is the interface.
    const capture = run.a.node(COMMAND, ['c0', file, '--snaplen', '40'], { env });
    await begun(file);
    await run.ping(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await capture.stop('SIGTERM');
    const records = icmp(capturedBy(file), 0);
    expect(records.map((each) => [each.interface.linkType, each.bytes.length, each.originalLength])).toEqual(
      Array.from({ length: 4 }, () => [LinkType.Raw, 40, 84]),
    );
  });

  it('ends quietly when the reader of its pipe has left', async () => {
    await using run = await wired();
    const pipe = `exec "$0" "$@" | head -c 10 >/dev/null`;
    const capture = run.a.spawn(['sh', '-c', pipe, process.execPath, COMMAND, 'eth0', '-'], { env });
    while (capture.running) await run.a.exec(['ping', '-q', '-c', '1', '10.1.0.2']);
    expect([(await capture.ended).code, capture.stderr]).toEqual([
      0,
      expect.stringMatching(/^tunconnector: \d+ packets? captured\n$/),
    ]);
  });

  it('says so when the interface goes away', async () => {
    await using run = await wired();
    const file = newFile();
    const capture = run.a.node(COMMAND, ['eth0', file], { env });
    await begun(file);
    await run.a.ip('link del eth0');
    expect((await capture.ended).code).toBe(exitCode('ERR_INTERFACE'));
    expect(capture.stderr).toBe('tunconnector: the interface "eth0" went down or was removed\n');
    expect(capturedBy(file)).toBeInstanceOf(Array);
  });

  it.each<[string, string[], ErrorCode, RegExp]>([
    [
      'a name that nothing has',
      ['nothing0', '-'],
      'ERR_INTERFACE',
      /"nothing0" is neither a running network nor an interface; .*ip link/,
    ],
    ['a name that nothing can have', ['a/b', '-'], 'ERR_INTERFACE', /"a\/b" is not an interface name/],
    [
      'a directory that is not there',
      ['eth0', '/no/such/file'],
      'ERR_CAPTURE',
      /\/no\/such\/file cannot be written \(ENOENT\)/,
    ],
    [
      'links of an interface',
      ['eth0', '-', '--link', 'all'],
      'ERR_USAGE',
      /--link is for networks, and "eth0" is an interface/,
    ],
    ['no packets', ['eth0', '-', '--count', '0'], 'ERR_USAGE', /--count: found "0"/],
    ['a length that is no number', ['eth0', '-', '--snaplen', '9e9'], 'ERR_USAGE', /--snaplen: found "9e9"/],
    ['a time without unit', ['eth0', '-', '--duration', '5'], 'ERR_CONFIG', /found the duration "5"/],
  ])('refuses %s in one line', async (_name, argv, code, message) => {
    await using run = await wired();
    const result = await run.a.exec([process.execPath, COMMAND, ...argv], { env });
    expect(result.stderr.trim().split('\n')).toEqual([expect.stringMatching(message)]);
    expect([result.code, result.stdout]).toEqual([exitCode(code), '']);
  });
});
