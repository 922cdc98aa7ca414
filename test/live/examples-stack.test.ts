import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorld, type Host, type World } from '../../src/testing/index.ts';
import { root } from '../house/sources.ts';
import { needs } from '../needs.ts';

const example = (name: string) => path.join(root, 'examples', name);
const TIME = { timeout: 90_000 };

describe.skipIf(needs('netns', 'tun', 'ip', 'iperf3', 'curl'))('examples with a stack of their own', () => {
  let world: World;
  let host: Host;

  beforeAll(async () => {
    world = await createWorld();
    host = await world.host('host');
  });
  afterAll(() => world?.close());

  it.each([
    ['TCP', []],
    ['TCP, from the server', ['-R']],
    ['datagrams', ['-u', '-b', '10']],
  ])('stack-iperf3.mjs measures with a real iperf3 server: %s', TIME, async (_, how) => {
    const server = host.spawn(['iperf3', '-s', '-1', '--forceflush']);
    await server.waitFor('listening');
    const meter = [process.execPath, example('stack-iperf3.mjs'), 'client', '10.9.0.1', '-t', '2', ...how];
    const { stdout, stderr, code } = await host.exec(meter, { timeout: 40_000 });
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    const [sent, received] = ['sent', 'received'].map((what) =>
      Number(new RegExp(`^${what}: (\\d+) bytes`, 'm').exec(stdout)?.[1]),
    ) as [number, number];
    expect(received).toBeGreaterThan(500_000);
    expect(sent).toBeGreaterThanOrEqual(received);
    expect((await server.ended).code).toBe(0);
    expect(server.stdout).toMatch(/receiver|sender/);
  });

  it('stack-iperf3.mjs is a server for a real iperf3', TIME, async () => {
    const server = host.node(example('stack-iperf3.mjs'), ['server', '--tun', 'st1']);
    await server.waitFor('listening');
    for (const how of [[], ['-R'], ['-u', '-b', '5M'], ['-u', '-R', '-b', '5M']]) {
      const iperf = ['iperf3', '-c', '10.9.0.2', '-t', '1', '-J', ...how];
      const { stdout, code } = await host.exec(iperf, { timeout: 20_000 });
      expect({ how, code }).toEqual({ how, code: 0 });
      const { end } = JSON.parse(stdout) as {
        end: { sum_received?: { bytes: number }; sum: { bytes: number } };
      };
      expect((end.sum_received ?? end.sum).bytes).toBeGreaterThan(50_000);
    }
    expect((await server.stop('SIGINT', 20_000)).code).toBe(0);
  });

  it('stack-http.mjs serves curl, and asks a server of the kernel', TIME, async () => {
    const running = host.node(example('stack-http.mjs'));
    await running.waitFor('curl http://10.9.0.2');
    expect(running.stdout).toContain('the kernel says "hello 10.9.0.2"');
    const { stdout } = await host.exec([
      'curl',
      '-s',
      '-m',
      '10',
      'http://10.9.0.2/page',
      'http://[fd00:9::2]/',
    ]);
    expect(stdout).toBe(
      'hello 10.9.0.1, this is a stack of its own\nhello fd00:9::1, this is a stack of its own\n',
    );
    expect(running.stdout).toContain('10.9.0.1 asks for /page');
    expect((await running.stop('SIGINT', 20_000)).code).toBe(0);
  });
});

describe('stack-congestion.mjs', () => {
  it('keeps the queue short with a control of its own, at nearly the rate', TIME, async () => {
    await using world = await createWorld();
    const host = await world.host('host');
    const { stdout } = await host.exec([process.execPath, example('stack-congestion.mjs')], {
      timeout: 60_000,
    });
    const row = (name: string) => {
      const found = new RegExp(`${name} +│ ([\\d.]+) +│ (\\d+) +│ (\\d+)`).exec(stdout)!;
      return found.slice(1).map(Number) as [number, number, number];
    };
    const [[cubic, wait], [shy, shortWait, again]] = [row('cubic'), row('shy')];
    expect(shy).toBeGreaterThan(0.8 * cubic);
    expect(shortWait).toBeLessThan(90);
    expect(wait).toBeGreaterThan(150);
    expect(again).toBe(0);
  });
});
