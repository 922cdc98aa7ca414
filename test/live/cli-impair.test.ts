import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CaptureReader } from '../../src/packet/capture-reader.ts';
import { needs } from '../needs.ts';
import { BIN, runToEnd, until } from './cli-world.ts';
import { bridged, FAR, iperf, pings, reportOf } from './impair-world.ts';

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

describe.skipIf(needs('root', 'ping', 'iperf3'))('tunconnector impair', () => {
  it('delays each way: no ping is early, and the median waits for each delay once', {
    timeout: 30_000,
  }, async () => {
    await using world = await bridged();
    await world.start('--delay', '20ms', '--up-delay', '10ms');
    await pings(world.near, 2);
    const times = await pings(world.near, 50);
    expect(times).toHaveLength(50);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(50);
    expect(median(times)).toBeLessThan(68);
  });

  it('loses what it is told to, and says so', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    const command = await world.start('--up-loss', '20%', '--seed', '7', '--json');
    const answered = (await pings(world.near, 400, 0.005)).length;
    // 99.9 % of a binomial distribution.
    expect(Math.abs(answered - 320)).toBeLessThan(3.29 * Math.sqrt(400 * 0.2 * 0.8));
    const { up, down } = await reportOf(command);
    const [loss] = up.pipelines[0]!.stages;
    expect(up.packets - up.packetsOut).toBe(loss!.drops.loss);
    expect(down.packetsOut).toBe(down.packets);
  });

  it('loses 1 % of the wire packets of TCP on superframes', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    const command = await world.start('--up-loss', '1%', '--seed', '7', '--json');
    await iperf(world.near, world.far, '-t', '2');
    const [loss] = (await reportOf(command)).up.pipelines[0]!.stages;
    const n = loss!.packets;
    expect(n).toBeGreaterThan(10_000);
    expect(Math.abs(loss!.drops.loss! - n * 0.01)).toBeLessThan(3.29 * Math.sqrt(n * 0.01 * 0.99));
  });

  it('tells senders how long a packet may be, where its MTU answers', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    await world.start('--mtu', '1300 answer', '--down-delay', '5ms');
    const big = ['ping', '-n', '-c', '2', '-i', '0.2', '-W', '1', '-M', 'do', '-s', '1400', FAR];
    const { stdout, stderr } = await world.near.exec(big);
    expect(stdout + stderr).toMatch(/(mtu ?= ?1300|mtu=1300)/);
    const { stdout: route } = await world.near.exec(['ip', 'route', 'get', FAR]);
    expect(route).toContain('mtu 1300');
    expect(await pings(world.near, 2)).toHaveLength(2);
  });

  it('passes no more than the rate, and about that', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    await world.start('--rate', '50mbit');
    const { bitsPerSecond } = await iperf(world.near, world.far, '-t', '3', '-O', '1');
    // Of 1514 bytes of a frame 1448 are TCP's payload.
    const payload = (50e6 * 1448) / 1514;
    expect(bitsPerSecond).toBeLessThan(payload * 1.02);
    // What a busy machine makes TCP miss is not the link's: how exact a rate is, test/impair asks in virtual time.
    expect(bitsPerSecond).toBeGreaterThan(payload * 0.5);
  });

  it('goes on without files that a full disk cuts short, and ends with 1', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    const command = await world.start('--pcap', '/dev/full', '--log', '/dev/full');
    expect(await pings(world.near, 3)).toHaveLength(3);
    expect((await command.stop('SIGINT', 20_000)).code).toBe(1);
    expect(command.stderr.match(/\/dev\/full.*make room on the disk/g)).toHaveLength(2);
  });

  it('does to packets what a log of an earlier run says', { timeout: 30_000 }, async () => {
    // Pings alone: how often a host looks for neighbours and groups is not the same each time.
    const spec = `rules: [{ label: pings, match: '10.9.0.2:icmp', up: loss 30% }]`;
    const lost = async (...words: string[]) => {
      await using world = await bridged();
      const log = path.join(world.directory, 'log.jsonl');
      if (words[0] === '--replay') await writeFile(log, words.pop()!);
      if (words[0] === '--spec') await writeFile((words[1] = path.join(world.directory, 'spec.yaml')), spec);
      const command = await world.start(...words, log, '--json');
      // One flow, whose name is its identifier.
      await world.near.exec(['ping', '-n', '-e', '77', '-c', '60', '-i', '0.01', '-W', '1', FAR], {
        timeout: 60_000,
      });
      const { up } = await reportOf(command);
      return { text: await readFile(log, 'utf8'), drops: up.packets - up.packetsOut };
    };
    const first = await lost('--spec', '', '--seed', '7', '--log');
    expect(first.drops).toBeGreaterThan(5);
    expect((await lost('--replay', first.text)).drops).toBe(first.drops);
  });

  it('is a running network for top, and its two directions have one seed', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    const command = await world.start('--delay', '1ms', '--json');
    const { seed } = JSON.parse(command.stdout.split('\n')[0]!);
    expect(seed.up).toBe(seed.down);
    const top = await runToEnd(world.middle, 'top left-right --once --json');
    expect(top.code, top.stderr).toBe(0);
    expect(top.stdout).toContain('left.out -> up.in');
    await reportOf(command);
  });

  it('captures what passes, and what is dropped with its reason', { timeout: 30_000 }, async () => {
    await using world = await bridged();
    const file = path.join(world.directory, 'link.pcapng');
    const command = await world.start('--up-loss', '50%', '--seed', '7', '--pcap', file, '--verbose');
    expect(command.stderr).toContain('interface left');
    await pings(world.near, 40, 0.01);
    expect((await command.stop('SIGINT', 20_000)).code).toBe(0);
    const reader = new CaptureReader();
    const comments = reader.push(await readFile(file)).flatMap(({ comments }) => comments);
    expect(comments.length).toBeGreaterThan(5);
    expect(new Set(comments)).toEqual(new Set(['dropped: loss (up)']));
  });

  it('takes a new spec on SIGHUP, and keeps the old one when the new one is wrong', {
    timeout: 30_000,
  }, async () => {
    await using world = await bridged();
    const spec = path.join(world.directory, 'spec.yaml');
    await writeFile(spec, 'both: delay 10ms\n');
    const command = await world.start('--spec', spec);
    expect(Math.min(...(await pings(world.near, 10)))).toBeLessThan(50);
    await writeFile(spec, 'both: delay 30ms\n');
    command.kill('SIGHUP');
    await command.waitFor(/is in force/, 20_000);
    expect(Math.min(...(await pings(world.near, 10)))).toBeGreaterThanOrEqual(60);
    await writeFile(spec, 'both: delay soon\n');
    command.kill('SIGHUP');
    expect(await until(() => command.stderr.includes('the link stays as it was'))).toBe(true);
    expect(command.stderr).toContain(spec);
    expect(Math.min(...(await pings(world.near, 5)))).toBeGreaterThanOrEqual(60);
    const { code } = await command.stop('SIGTERM', 20_000);
    expect(code).toBe(0);
    expect(command.stdout).toMatch(/left to right/);
  });

  it('is not ended by a SIGHUP that comes before it is up, and reads the spec again then', {
    timeout: 30_000,
  }, async () => {
    await using world = await bridged();
    const spec = path.join(world.directory, 'spec.yaml');
    await writeFile(spec, 'both: delay 10ms\n');
    const command = world.middle.node(BIN, ['impair', 'left', 'right', '--spec', spec]);
    // The first bit of the signals that it listens to.
    const hears = async () => {
      const status = await readFile(`/proc/${command.pid}/status`, 'utf8');
      return (Number.parseInt(/SigCgt:\t\w*(\w)\n/.exec(status)![1]!, 16) & 1) === 1;
    };
    while (!(await hears())) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(command.stdout).toBe('');
    command.kill('SIGHUP');
    await command.waitFor(/are joined[\s\S]*is in force/, 20_000);
    expect((await command.stop('SIGTERM', 20_000)).code).toBe(0);
  });

  it.each([
    ['left nowhere', 5, /no interface "nowhere"/],
    ['left left', 2, /two ends/],
    ['left right --delay soon', 2, /--delay: .*"soon"/],
    ['left right --spec nowhere.yaml', 2, /cannot read nowhere.yaml/],
    ['left right --seed x', 2, /--seed: found "x"/],
    ['left', 2, /right/],
  ])('refuses "%s" in one line', async (words, code, text) => {
    await using world = await bridged();
    const end = await runToEnd(world.middle, `impair ${words}`);
    expect(end.code).toBe(code);
    expect(end.stderr).toMatch(text);
    expect(end.stderr.trim().split('\n')).toHaveLength(1);
  });
});
