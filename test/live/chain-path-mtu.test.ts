import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { type RunningChain, runningChain, SERVER } from './chain-world.ts';
import { pings } from './cli-world.ts';

const services = fileURLToPath(new URL('fixtures/chain-services.mjs', import.meta.url));
/** Behind the server, which is a router to it, by a path that is narrower than the chain. */
const FAR = { v4: '198.18.0.9', v6: '2001:db8:2::9' };
const NARROW = 1300;
const BYTES = 3_000_000;
const HASH = createHash('sha256').update(Buffer.alloc(BYTES, 'chain')).digest('hex');

/** Prints what has come over each connection: its hash. */
const SINK = `
require('node:net').createServer((socket) => {
  const hash = require('node:crypto').createHash('sha256');
  socket.on('data', (data) => hash.update(data)).on('end', () => socket.end(hash.digest('hex')));
}).listen(9, '::', () => console.log('ready'));`;

/** Sends so many bytes to a sink. */
const UPLOAD = `
const [host, bytes] = process.argv.slice(1);
const socket = require('node:net').connect(9, host, () => socket.end(Buffer.alloc(Number(bytes), 'chain')));
socket.on('data', (data) => process.stdout.write(data));`;

/** Sends datagrams of so many bytes to an echo, says which came back. */
const ECHO = `
const [host, ...sizes] = process.argv.slice(1);
const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
const waiting = new Map(sizes.map((size, n) => [Number(size), require('node:crypto').createHash('sha1').update('' + n).digest('hex').repeat(1500).slice(0, size)]));
socket.on('message', (message) => {
  if (waiting.get(message.length) !== message.toString()) process.exit(1);
  waiting.delete(message.length);
  if (waiting.size === 0) process.exit(0);
});
const send = () => { for (const text of waiting.values()) socket.send(text, 7, host); };
send();
setInterval(send, 1000);
setTimeout(() => process.exit(2), 8000);`;

describe.skipIf(needs('netns', 'tun', 'ip', 'ping', 'curl', 'tracepath', 'nft'))(
  'paths through a chain',
  () => {
    let chain: RunningChain;
    let far: Host;
    /** What fits into the chain. */
    let mtu: number;

    beforeAll(async () => {
      chain = await runningChain('--to 198.18.0.0/24 --to 2001:db8:2::/64');
      const { world, server, egress } = chain;
      far = await world.host('far');
      await world.wire(server, far, {
        a: ['198.18.0.1/24', '2001:db8:2::1/64'],
        b: [`${FAR.v4}/24`, `${FAR.v6}/64`],
        names: { a: 'far0' },
      });
      await far.ip(['route add default via 198.18.0.1', 'route add default via 2001:db8:2::1']);
      await egress.ip([
        'route add 198.18.0.0/24 via 203.0.113.9',
        'route add 2001:db8:2::/64 via 2001:db8:1::9',
      ]);
      const forward = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
      await server.exec(['sysctl', '-q', '-w', ...forward], { check: true });
      // On the way there alone: on the way back packets of any size pass.
      await server.ip([
        `route add ${FAR.v4} dev far0 mtu ${NARROW}`,
        `route add ${FAR.v6} dev far0 mtu ${NARROW}`,
      ]);
      await Promise.all([
        server.node(services).waitFor('ready'),
        far.spawn(['node', '-e', SINK]).waitFor('ready'),
      ]);
      expect(await pings(chain.client, SERVER.v4)).toBe(true);
      const told = await ping(SERVER.v4, 1600 - 128 - 28);
      mtu = Number(/mtu ?= ?(\d+)/.exec(told)?.[1]);
    }, 120_000);
    afterAll(() => chain?.[Symbol.asyncDispose]());

    async function ping(to: string, size: number): Promise<string> {
      const words = ['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', String(size), to];
      const { stdout, stderr } = await chain.client.exec(words);
      return stdout + stderr;
    }

    const forget = () => chain.client.exec(['ip', 'route', 'flush', 'cache']);
    const upload = (to: string, timeout = 20_000) =>
      chain.client.exec(['node', '-e', UPLOAD, to, String(BYTES)], { timeout });

    it('say what fits, to the byte', async () => {
      // Two functions: a prefix of 48 bytes, and IPv4 and UDP around it.
      expect(mtu).toBe(1500 - 28 - 48);
      for (const [to, headers, router] of [
        [SERVER.v4, 28, '10.8.0.1'],
        [SERVER.v6, 48, 'fd08::1'],
      ] as const) {
        await forget();
        await chain.client.exec(['ip', '-6', 'route', 'flush', 'cache']);
        expect(await ping(to, mtu - headers)).toContain('1 received');
        const told = await ping(to, mtu - headers + 1);
        expect(told).toMatch(new RegExp(`(From ${router}.*|too long.*)mtu ?= ?${mtu}`, 'i'));
        expect(await ping(to, mtu - headers)).toContain('1 received');
        const { stdout } = await chain.client.exec(['tracepath', '-n', to], { check: true });
        expect(stdout).toMatch(new RegExp(`Resume: pmtu ${mtu} hops 4 back 4`));
      }
    }, 40_000);

    it('carry fragments both ways', async () => {
      for (const to of [SERVER.v4, SERVER.v6]) {
        // The first ones may tell both sides what fits.
        const { stdout } = await chain.client.exec(['ping', '-c', '4', '-i', '0.2', '-s', '4000', to]);
        expect(Number(/(\d) received/.exec(stdout)![1])).toBeGreaterThan(1);
        const { code } = await chain.client.exec(['node', '-e', ECHO, to, '4000', '9000', '30000']);
        expect([to, code]).toEqual([to, 0]);
      }
    }, 40_000);

    it('are found by TCP, in both directions, also where the narrow link is behind the egress', async () => {
      const { client, server } = chain;
      for (const address of [FAR.v4, FAR.v6]) {
        const sent = await upload(address);
        expect([address, sent.stdout, sent.stderr]).toEqual([address, HASH, '']);
        const { stdout } = await client.exec(['ip', 'route', 'get', address]);
        expect(stdout).toMatch(/mtu 1300/);
      }
      for (const address of [SERVER.v4, `[${SERVER.v6}]`]) {
        const get = `curl -g -sS -m 20 'http://${address}:8080/${BYTES}' | sha256sum`;
        expect((await client.exec(['sh', '-c', get])).stdout.slice(0, 64)).toBe(HASH);
      }
      // What the egress had to tell the server.
      const learned = await server.exec(['ip', 'route', 'show', 'cache']);
      expect(learned.stdout + (await server.exec(['ip', '-6', 'route', 'show', 'cache'])).stdout).toMatch(
        new RegExp(`mtu ${mtu}`),
      );
    }, 60_000);

    it('that swallow ICMP behind the egress are left to TCP, which the chain does not hinder', async () => {
      const { client, server } = chain;
      const rules = [
        'table inet hole {',
        'chain out {',
        'type filter hook output priority 0;',
        'icmp type destination-unreachable drop',
        'icmpv6 type packet-too-big drop',
        '}',
        '}\n',
      ].join('\n');
      await server.exec(['nft', '-f', '-'], { input: rules, check: true });
      await forget();
      await client.exec(['ip', '-6', 'route', 'flush', 'cache']);
      // Nobody tells the client: its TCP stands still, as it would without a chain.
      const still = upload(FAR.v4, 3000).then(
        ({ stdout }) => stdout,
        () => 'nothing',
      );
      expect(await still).toBe('nothing');
      await client.exec(['sysctl', '-q', '-w', 'net.ipv4.tcp_mtu_probing=1'], { check: true });
      for (const address of [FAR.v4, FAR.v6])
        expect([address, (await upload(address, 25_000)).stdout]).toEqual([address, HASH]);
    }, 90_000);
  },
);
