import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostProcess } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { type ChainHosts, chainHosts, INGRESS, ROULETTE, SERVER, TO_SERVER, TOKEN } from './chain-world.ts';
import { BIN, until } from './cli-world.ts';

const SIZE = 50_000_000;
const services = fileURLToPath(new URL('fixtures/chain-services.mjs', import.meta.url));
const http = (host: string) => `http://${host.includes(':') ? `[${host}]` : host}:8080`;

/** Root without a capability: as helpless as anybody, and can read the files of this checkout. */
const POWERLESS = [
  'setpriv',
  '--no-new-privs',
  '--inh-caps=-all',
  '--ambient-caps=-all',
  '--bounding-set=-all',
];

describe.skipIf(needs('netns', 'tun', 'ip', 'curl', 'ab', 'dig', 'socat'))(
  'an egress that delivers over sockets, without a capability',
  () => {
    let chain: ChainHosts;
    let egress: HostProcess;

    beforeAll(async () => {
      chain = await chainHosts();
      const words = `egress --deliver sockets --roulette ${ROULETTE} --tenant 42 --metrics --json --map 203.0.113.50=127.0.0.1`;
      egress = chain.egress.spawn([...POWERLESS, process.execPath, BIN, ...words.split(' ')], {
        env: { ...process.env, TUNCONNECTOR_TOKEN: TOKEN },
      });
      await egress.waitFor(/"event":"up"/, 40_000);
      await chain.replica(0);
      await chain.start(chain.ingress, INGRESS);
      await chain.start(chain.client, TO_SERVER);
      await chain.server.node(services).waitFor('ready');
      const ready = () => chain.client.exec(['curl', '-s', '-m', '1', `${http(SERVER.v4)}/1`]);
      expect(await until(async () => (await ready()).code === 0, 20_000)).toBe(true);
    }, 90_000);
    afterAll(async () => {
      await chain?.[Symbol.asyncDispose]();
    });

    const figure = async (name: string) => {
      const auth = `authorization: Bearer ${TOKEN}`;
      const { stdout } = await chain.egress.exec([
        ...['curl', '-s', '-H', auth],
        'http://127.0.0.1:9479/metrics',
      ]);
      return Number(new RegExp(`^${name}\\S* (\\d+)`, 'm').exec(stdout)?.[1]);
    };

    it('has no interface of its own, and no power to make one', async () => {
      const look = 'ip -o link; grep -h CapEff /proc/[0-9]*/status';
      const { stdout } = await chain.egress.exec(['sh', '-c', look]);
      expect(stdout).not.toMatch(/chain0/);
      expect(stdout).toMatch(/^CapEff:\t0+$/m);
    });

    it.each([SERVER.v4, SERVER.v6])(
      'downloads and uploads 50 MB to %s unharmed',
      async (host) => {
        const hash = createHash('sha256').update(Buffer.alloc(SIZE, 'chain')).digest('hex');
        const get = `curl -sS -m 60 ${http(host)}/${SIZE} | sha256sum`;
        const down = await chain.client.exec(['sh', '-c', get], { timeout: 70_000 });
        expect(down.stdout.slice(0, 64)).toBe(hash);
        const family = host.includes(':') ? 'TCP6' : 'TCP4';
        const at = host.includes(':') ? `[${host}]` : host;
        // The receiver sees the end, and says what it got on the other half of the connection.
        const sum = chain.server.spawn([
          'socat',
          '-t',
          '60',
          `${family}-LISTEN:9000,reuseaddr`,
          'EXEC:sha256sum',
        ]);
        await until(async () => (await chain.server.exec(['ss', '-Hltn', 'sport = :9000'])).stdout !== '');
        const put = `yes chain | head -c ${SIZE} | socat -t 60 - ${family}:${at}:9000`;
        const up = await chain.client.exec(['sh', '-c', put], { timeout: 70_000 });
        await sum.ended;
        const sent = createHash('sha256').update(Buffer.alloc(SIZE, 'chain\n')).digest('hex');
        expect(up.stdout.slice(0, 64)).toBe(sent);
      },
      200_000,
    );

    it('serves ab, and dig over UDP', async () => {
      const ab = await chain.client.exec(['ab', '-q', '-n', '500', '-c', '20', `${http(SERVER.v4)}/100`], {
        timeout: 60_000,
      });
      expect(ab.stdout).toMatch(/Complete requests: +500/);
      expect(ab.stdout).toMatch(/Failed requests: +0/);
      for (const host of [SERVER.v4, SERVER.v6]) {
        const dig = await chain.client.exec(['dig', '+short', '+time=3', `@${host}`, 'a.test', 'A']);
        expect(dig.stdout.trim()).toBe('203.0.113.77');
        const long = await chain.client.exec([
          'dig',
          '+short',
          '+time=3',
          '+bufsize=4096',
          `@${host}`,
          'a.test',
          'TXT',
        ]);
        expect(long.stdout.length).toBeGreaterThan(3000);
      }
    }, 90_000);

    it.each([SERVER.v4, SERVER.v6])('refuses at once what %s refuses', async (host) => {
      const url = http(host).replace('8080', '81');
      const started = performance.now();
      const tcp = await chain.client.exec(['curl', '-sS', '-m', '10', url]);
      expect(tcp.stderr).toMatch(/refused|Couldn't connect|Failed to connect/);
      expect(tcp.code).toBe(7);
      expect(performance.now() - started).toBeLessThan(2000);
      const dig = await chain.client.exec(['dig', '+time=5', '+tries=1', '-p', '9999', `@${host}`, 'a.test']);
      expect(dig.stdout).toMatch(/connection refused/);
    });

    it('does not let clients reach the machine it is on, but by what is mapped', async () => {
      const local = `require('node:http').createServer((_, response) => response.end('local')).listen(7000, '0.0.0.0', () => console.log('ready'))`;
      await chain.egress.spawn([process.execPath, '-e', local]).waitFor('ready');
      const get = async (address: string) =>
        chain.client.exec(['curl', '-sS', '-m', '5', `http://${address}:7000`]);
      const own = await get('203.0.113.1');
      expect(own.code).toBe(7);
      expect((await get('203.0.113.50')).stdout).toBe('local');
      expect(await figure('tunconnector_chain_delivery_prohibited_total')).toBeGreaterThan(0);
    });

    it('resets what the receiver resets', async () => {
      const reset = `require('node:net').createServer((s) => s.on('data', () => s.resetAndDestroy())).listen(7001, '::', () => console.log('ready'))`;
      await chain.server.spawn([process.execPath, '-e', reset]).waitFor('ready');
      const { stderr } = await chain.client.exec(['curl', '-sS', '-m', '5', `http://${SERVER.v4}:7001`]);
      expect(stderr).toMatch(/reset by peer/i);
    });

    it('has no connection left at the end, and says what it did', async () => {
      expect(
        await until(async () => (await figure('tunconnector_chain_delivery_connections')) === 0, 10_000),
      ).toBe(true);
      egress.kill('SIGINT');
      expect((await egress.ended).code).toBe(0);
      const last = JSON.parse(egress.stdout.trim().split('\n').at(-1)!);
      expect(last.delivery.opened).toBeGreaterThan(500);
      expect(last.delivery.bytesDown).toBeGreaterThan(2 * SIZE);
      expect(last.delivery.bytesUp).toBeGreaterThan(2 * SIZE);
    }, 30_000);
  },
);
