import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, until } from './cli-world.ts';
import { type Bridged, bridged, FAR, pings, START_LIMIT_MS } from './impair-world.ts';
import { measureLag } from './lag.ts';

const URL = 'http://127.0.0.1:7580';

interface Served extends Bridged {
  /** By curl, on the host where the command runs. */
  curl(...words: string[]): Promise<{ status: number; body: string }>;
}

/** Hosts whose link is served. */
async function served(): Promise<Served> {
  const hosts = await bridged();
  const { middle } = hosts;
  return {
    ...hosts,
    async start(...words) {
      const command = middle.node(BIN, ['impair', 'left', 'right', ...words]);
      await command.waitFor(/served at|"event":"serving"/, START_LIMIT_MS);
      return command;
    },
    async curl(...words) {
      const argv = ['curl', '-s', '-m', '10', '-w', '\n%{http_code}', ...words];
      const { stdout } = await middle.exec(argv, { timeout: 15_000 });
      const at = stdout.lastIndexOf('\n');
      return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) };
    },
  };
}

async function rtt(host: Host): Promise<number> {
  const times = await pings(host, 5);
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!;
}

const put = (spec: object, ...more: string[]) => [
  ...['-X', 'PUT', '-H', 'content-type: application/json', '--data-binary', JSON.stringify(spec), ...more],
  `${URL}/api/v1/spec`,
];

describe.skipIf(needs('root', 'ip', 'ping', 'curl'))('impair --serve', () => {
  it('puts a spec that the next ping passes, and one that is bad changes nothing', async () => {
    await using world = await served();
    const command = await world.start('--delay', '5ms', '--serve');
    expect(command.stdout).toContain(`served at ${URL}\n`);
    expect(await rtt(world.near)).toBeGreaterThan(10);
    const changed = await world.curl(...put({ both: 'delay 40ms' }));
    expect([changed.status, JSON.parse(changed.body).revision]).toEqual([200, 2]);
    const slower = await rtt(world.near);
    expect([slower > 80, slower < 155]).toEqual([true, true]);
    const bad = await world.curl(
      ...put({ both: 'delay 1ms', rules: [{ label: 'a', match: '*', up: [{ kind: 'delay' }] }] }),
    );
    expect([bad.status, JSON.parse(bad.body).error.path]).toEqual([400, 'rules.0.up.0.time']);
    expect(await rtt(world.near)).toBeGreaterThan(80);
    const stats = JSON.parse((await world.curl(`${URL}/api/v1/stats`)).body);
    const [{ packetsOut, delay }] = stats.up.rules;
    expect(delay / packetsOut).toBeGreaterThan(5e6);
    expect(delay / packetsOut).toBeLessThan(75e6);
    expect((await world.curl('-H', 'host: evil.test', `${URL}/api/v1/spec`)).status).toBe(421);
  });

  it('is served to others only with a token, which is drawn and told once', async () => {
    await using world = await served();
    const command = await world.start('--serve', '0.0.0.0:0', '--json');
    const line = command.stdout.split('\n').find((each) => each.includes('"serving"'))!;
    const { port, url } = JSON.parse(line);
    const token = /\?token=([\w-]{32})$/.exec(url)![1];
    const api = `http://10.9.8.1:${port}/api/v1/spec`;
    await world.middle.exec(['ip', 'addr', 'add', '10.9.8.1/32', 'dev', 'lo'], { check: true });
    expect((await world.curl(api)).status).toBe(401);
    expect((await world.curl('-H', 'authorization: Bearer wrong-wrong-wrong-wrong', api)).status).toBe(401);
    expect((await world.curl('-H', `authorization: Bearer ${token}`, api)).status).toBe(200);
  });

  it('reads its token from a file, and keeps it to itself', async () => {
    await using world = await served();
    const file = path.join(world.directory, 'token');
    await writeFile(file, 'a-token-that-is-long-enough\n');
    const command = await world.start('--serve', '--token-file', file);
    expect(command.stdout).not.toContain('a-token-that');
    expect((await world.curl(`${URL}/api/v1/spec`)).status).toBe(401);
    expect(
      (await world.curl('-H', 'authorization: Bearer a-token-that-is-long-enough', `${URL}/metrics`)).status,
    ).toBe(200);
  });

  it('that cannot listen says why, and leaves no link', async () => {
    await using world = await served();
    await world.start('--serve');
    const again = async (...words: string[]) => {
      const process = world.middle.node(BIN, ['impair', 'left', 'right', ...words]);
      const { code } = await process.ended;
      return [code, process.stderr.trim()];
    };
    expect(await again('--serve')).toEqual([
      5,
      'tunconnector: another program listens on 127.0.0.1:7580; choose another port; 0 takes one that is free',
    ]);
    expect(await again('--serve', '192.0.2.7:80')).toEqual([
      5,
      'tunconnector: 192.0.2.7 is no address of this machine; choose one that "ip address" shows',
    ]);
    expect((await again('--serve', 'nowhere:at:all'))[0]).toBe(2);
    expect((await again('--token-file', '/dev/null'))[0]).toBe(2);
  });

  it.each(['worker', 'main'])(
    'ends within a second of Ctrl-C with open streams, its packets in the %s thread',
    async (thread) => {
      await using world = await served();
      const command = await world.start('--serve', '--thread', thread);
      const script = `import { ImpairClient } from ${JSON.stringify(new globalThis.URL('../../dist/control/client/index.js', import.meta.url).href)};
      for await (const { type } of new ImpairClient().stream({ reconnect: false })) console.log(type);`;
      const readers = [1, 2].map(() => world.middle.spawn(['node', '--input-type=module', '-e', script]));
      for (const reader of readers) await reader.waitFor(/stats/, 20_000);
      const start = performance.now();
      const lag = measureLag();
      command.kill('SIGINT');
      const { code } = await command.ended;
      expect(performance.now() - start).toBeLessThan(1000 + 3 * lag());
      expect(code).toBe(0);
      for (const reader of readers) await reader.ended;
    },
  );

  it('loses no packet in a thousand reloads under traffic that no rule dropped', async () => {
    await using world = await served();
    await world.start('--delay', '2ms', '--serve');
    const script = `import { ImpairClient } from ${JSON.stringify(new globalThis.URL('../../dist/control/client/index.js', import.meta.url).href)};
      const link = new ImpairClient();
      const rules = Array.from({ length: 20 }, (_, i) => ({ label: 'r' + i, match: '*:udp:' + (i + 1), both: 'delay 1ms' }));
      for (let i = 0; i < 1000; i++) {
        if (i % 2 === 0) await link.putSpec({ both: 'delay ' + (1 + (i % 3)) + 'ms', rules: rules.slice(i % 20) });
        else await link.patchRule('r19', { match: '*:icmp', both: 'delay ' + (1 + (i % 5)) + 'ms', position: 0 });
      }
      console.log((await link.spec()).revision);`;
    const traffic = world.near.spawn(['ping', '-n', '-q', '-i', '0.002', '-W', '1', FAR]);
    const reloads = await world.middle.exec(['node', '--input-type=module', '-e', script], {
      timeout: 50_000,
      check: true,
    });
    traffic.kill('SIGINT');
    await traffic.ended;
    expect(reloads.stdout.trim()).toBe('1001');
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(traffic.stdout)!;
    expect(Number(sent)).toBeGreaterThan(500);
    // One may be on its way when the ping ends.
    expect(Number(sent) - Number(received)).toBeLessThanOrEqual(2);
    const stats = JSON.parse((await world.curl(`${URL}/api/v1/stats`)).body);
    expect([stats.up.dropped, stats.down.dropped]).toEqual([0, 0]);
    expect(
      await until(async () => {
        const { up, down } = JSON.parse((await world.curl(`${URL}/api/v1/stats`)).body);
        return up.packets === up.packetsOut && down.packets === down.packetsOut;
      }),
    ).toBe(true);
  });
});
