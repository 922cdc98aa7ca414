/** What an impaired link is held to, as other programs see it: time, losses and changes, live. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Arrivals, latenessOf, parseArrivals } from '../../bench/harness/arrivals.ts';
import { compileProgram, type Program } from '../../scripts/flows.mjs';
import { needs } from '../needs.ts';
import { type Bridged, bridged, FAR, pings, reportOf } from './impair-world.ts';

/** Standard deviations of a normal distribution that hold 99.9 %. */
const Z = 3.29;
const MS = 1_000_000;
const TIME = { timeout: 60_000 };

describe.skipIf(needs('root', 'ping', 'gcc'))('a delay, live', () => {
  let oneway: Program;
  beforeAll(async () => {
    oneway = await compileProgram('bench/c/oneway.c');
  });
  afterAll(() => oneway.close());

  /** Datagrams from the near host to the far one, and what has become of them. */
  async function steadily(
    { near, far, directory }: Bridged,
    seconds: number,
    rate: number,
  ): Promise<Arrivals> {
    const file = path.join(directory, 'arrivals');
    const sink = far.spawn([oneway.program, 'sink', FAR, '7002', file]);
    await sink.waitFor('ready');
    const send = [oneway.program, 'send', FAR, '7002', '64', `${seconds}`, `${rate}`];
    await near.exec(send, { check: true });
    const size = async () => (await readFile(file)).length;
    for (let before = -1; before !== (await size()); ) {
      before = await size();
      await sleep(500);
    }
    expect((await sink.stop('SIGTERM', 20_000)).code).toBe(0);
    return parseArrivals(await readFile(file));
  }

  it('lets none of 100 000 packets arrive early', TIME, async () => {
    await using world = await bridged();
    const command = await world.start('--delay', '5ms', '--json');
    await pings(world.near, 2);
    const arrivals = await steadily(world, 6, 20_000);
    expect(arrivals.numbers.length).toBeGreaterThan(100_000);
    expect(latenessOf(arrivals, 5 * MS).early).toBe(0);
    await reportOf(command);
  });

  it('of 100 ms carries 5000 packets a second without loss, in order', TIME, async () => {
    await using world = await bridged();
    const command = await world.start('--delay', '100ms', '--json');
    await pings(world.near, 2);
    const arrivals = await steadily(world, 2, 5000);
    expect([...arrivals.numbers]).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
    // How late the median is on a machine that has nothing else to do, `npm run bench -- impair` says.
    const { early } = latenessOf(arrivals, 100 * MS);
    expect(early).toBe(0);
    const fastest = Math.min(...arrivals.arrived.map((at, i) => at - arrivals.left[i]!));
    expect(fastest).toBeLessThan(110 * MS);
    const { up } = await reportOf(command);
    expect(up.packetsOut).toBe(up.packets);
  });

  it('in ten parts of 10 ms each way makes a round trip of 200 ms', TIME, async () => {
    await using world = await bridged();
    await world.start(...Array.from({ length: 10 }, () => ['--delay', '10ms']).flat());
    await pings(world.near, 2);
    const times = await pings(world.near, 40);
    expect(times).toHaveLength(40);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(200);
    expect(Math.min(...times)).toBeLessThan(218);
  });
});

interface Lost {
  /** Wire packets of the flow, and the numbers (from 1) of those that were lost. */
  packets: number;
  numbers: number[];
  /** Frames that came in, of which one may be many wire packets. */
  frames: number;
}

describe.skipIf(needs('root', 'iperf3', 'ethtool'))('loss of 1 % under TCP', () => {
  const PORT = 40_001;

  async function lossesOf(offload: boolean): Promise<Lost> {
    await using world = await bridged();
    const { near, middle, far } = world;
    if (!offload) {
      for (const host of [near, far])
        await host.exec(['ethtool', '-K', 'eth0', 'tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off'], {
          check: true,
        });
    }
    const log = path.join(world.directory, 'log.jsonl');
    const command = await world.start('--up-loss', '1%', '--seed', '7', '--log', log, '--json');
    const server = far.spawn(['iperf3', '-s', '-1', '--forceflush']);
    await server.waitFor('listening');
    await near.exec(['iperf3', '-c', FAR, '-n', '40M', '--cport', `${PORT}`], {
      check: true,
      timeout: 40_000,
    });
    const { stdout } = await middle.exec(['ip', '-j', '-s', 'link', 'show', 'left'], { check: true });
    const frames = (JSON.parse(stdout) as [{ stats64: { rx: { packets: number } } }])[0].stats64.rx.packets;
    await reportOf(command);
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
    const events = lines.map(
      (line) => JSON.parse(line) as { event: string; flow: string; is: string; n: number },
    );
    const flow = events.find(({ event, is }) => event === 'flow' && is.includes(`10.9.0.1:${PORT}`))!.flow;
    const of = (kind: string) => events.filter((each) => each.event === kind && each.flow === flow);
    return {
      packets: of('in').length,
      numbers: of('drop')
        .map(({ n }) => n)
        .sort((a, b) => a - b),
      frames,
    };
  }

  it(
    'is the same on superframes as with offloads off: each in its interval, and packet by packet',
    TIME,
    async () => {
      const [whole, single] = [await lossesOf(true), await lossesOf(false)];
      expect(whole.frames).toBeLessThan(whole.packets / 2);
      expect(single.frames).toBeGreaterThan(single.packets * 0.99);
      for (const { packets, numbers } of [whole, single]) {
        expect(packets).toBeGreaterThan(20_000);
        expect(Math.abs(numbers.length - packets * 0.01)).toBeLessThan(Z * Math.sqrt(packets * 0.01 * 0.99));
      }
      // Flow and seed are the same, and so is what becomes of its packets, by their numbers.
      const both = Math.min(whole.packets, single.packets);
      const first = ({ numbers }: Lost) => numbers.filter((n) => n <= both);
      expect(first(whole)).toEqual(first(single));
    },
  );
});

describe.skipIf(needs('root', 'ping'))('a spec that is read again', () => {
  it('a thousand times under traffic loses no packet', { timeout: 120_000 }, async () => {
    await using world = await bridged();
    const spec = path.join(world.directory, 'spec.yaml');
    const text = (n: number) =>
      n % 2 === 0
        ? 'both: delay 4ms\n'
        : `both: delay ${n % 7}ms rate 1gbit\nrules: [{ label: r${n % 5}, match: '*:udp', both: delay 1ms }]\n`;
    await writeFile(spec, text(0));
    const command = await world.start('--spec', spec, '--json');
    await pings(world.near, 2);
    const answered: number[] = [];
    let ended = false;
    const traffic = (async () => {
      while (!ended) answered.push((await pings(world.near, 200, 0.002)).length);
    })();
    let inForce = 0;
    command.child.stdout!.on('data', (lines: string) => {
      inForce += lines.split('"event":"changed"').length - 1;
    });
    for (let n = 1; n <= 1000; n++) {
      await writeFile(spec, text(n));
      command.kill('SIGHUP');
      for (const end = performance.now() + 5000; inForce < n && performance.now() < end; ) await sleep(1);
      expect(inForce, command.stderr).toBe(n);
    }
    ended = true;
    await traffic;
    expect(answered).toEqual(answered.map(() => 200));
    const { up, down } = await reportOf(command);
    expect([up.packetsOut, down.packetsOut]).toEqual([up.packets, down.packets]);
  });
});
