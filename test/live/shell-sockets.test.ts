import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, SERVER, scratchDirectory, type TwoHosts, twoHosts } from './cli-world.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const NAME_SERVER = new URL('./fixtures/name-server.mjs', import.meta.url).pathname;
const SIZE = 20_000_000;
const WEB = `require('node:http').createServer((request, response) => response.end(Buffer.alloc(Number(request.url.slice(1)), 'x')))
  .listen(8080, process.argv[1], () => console.log('ready'))`;
const TIME = { timeout: 90_000 };
const PATIENCE = { timeout: 60_000 };

/**
 * `sh -ec OPEN_TO_ALL sh SCRATCH PROJECT COMMAND...`, in a mount namespace of its own: runs the command as nobody, for
 * whom there are a TUN device and a project (at SCRATCH/project) that can be read, wherever the checkout is.
 */
const OPEN_TO_ALL = `
  nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all -- "$@"; }
  scratch=$1 project=$2; shift 2
  mount -t tmpfs -o mode=755 none "$scratch"
  cd "$scratch"
  mknod -m 666 "$scratch/tun" c 10 200
  mount --bind "$scratch/tun" /dev/net/tun
  mkdir "$scratch/project"
  mount --bind "$project" "$scratch/project"
  if [ "$(nobody find "$scratch/project/" -maxdepth 2 ! -readable -print -quit)" ]; then
    umount "$scratch/project"
    cp -r "$project/." "$scratch/project"
    chmod -R a+rX "$scratch/project"
  fi
  nobody "$@"`;

const shell = (options: string, ...command: string[]): string[] => [
  ...[process.execPath, BIN, 'shell', ...options.split(' ').filter(Boolean), '--'],
  ...command,
];

async function withServer(): Promise<TwoHosts> {
  const hosts = await twoHosts();
  await hosts.client.ip('route add default via fd06::9');
  await serve(hosts.server, '::');
  return hosts;
}

const serve = (host: Host, address: string) =>
  host.spawn([process.execPath, '-e', WEB, address]).waitFor('ready');

describe.skipIf(needs('netns', 'userns', 'tun', 'ip', 'curl', 'nsenter'))(
  'tunconnector shell that delivers over sockets',
  () => {
    it.each([
      ['without root', '--rootless'],
      ['as root', '--deliver sockets'],
    ])('%s reaches hosts, late and whole, and touches nothing of this host', TIME, async (_, how) => {
      await using hosts = await withServer();
      const before = await hosts.client.snapshot();
      const curl = "curl -s -w '%{time_connect}\\n' -o /dev/null";
      const sum = (host: string) => `curl -s http://${host}:8080/${SIZE} | sha256sum`;
      const script = [
        `${curl} http://${SERVER}:8080/1; ${curl} http://[fd06::9]:8080/1`,
        `${sum(SERVER)}; ${sum('[fd06::9]')}; echo done; read -r line`,
      ].join('; ');
      const process = hosts.client.spawn(shell(`${how} --delay 25ms`, 'sh', '-c', script));
      await process.waitFor('done', 50_000);
      expect(await hosts.client.snapshot()).toBe(before);
      process.child.stdin!.write('\n');
      expect((await process.ended).code).toBe(0);
      const [four, six, ...sums] = process.stdout.split('\n') as [string, string, ...string[]];
      for (const time of [four, six].map(Number)) {
        expect(time).toBeGreaterThanOrEqual(0.05);
        // A busy machine adds to it.
        expect(time).toBeLessThan(1);
      }
      const hash = createHash('sha256').update(Buffer.alloc(SIZE, 'x')).digest('hex');
      expect(sums.slice(0, 2).map((line) => line.slice(0, 64))).toEqual([hash, hash]);
      expect(await hosts.client.snapshot()).toBe(before);
    });

    it.skipIf(needs('root', 'setpriv', 'ping', 'sysctl'))(
      'is for somebody who is nobody, too',
      TIME,
      async () => {
        await using hosts = await withServer();
        await using scratch = await scratchDirectory();
        // Who may ping is for each network to say: the first time nobody, the second time nobody's group.
        const script = `curl -s http://${SERVER}:8080/5; ping -c 1 -W 5 ${SERVER}`;
        const [node, bin, ...words] = shell('--delay 1ms', 'sh', '-c', script);
        const command = [node!, path.join(scratch.path, 'project', path.relative(PROJECT, bin!)), ...words];
        const run = async (range: string) => {
          await hosts.client.exec(['sysctl', '-qw', `net.ipv4.ping_group_range=${range}`], { check: true });
          return hosts.client.exec(
            ['unshare', '--mount', 'sh', '-ec', OPEN_TO_ALL, 'sh', scratch.path, PROJECT, ...command],
            PATIENCE,
          );
        };
        const { stdout, stderr } = await run('1 0');
        expect(stderr).toBe('');
        expect(stdout).toMatch(/^xxxxxPING/);
        expect(stdout).toContain('Packet filtered');
        const allowed = await run('65534 65534');
        expect(allowed.stderr).toBe('');
        expect(allowed.stdout).toMatch(/icmp_seq=1 ttl=63 [\s\S]* 0% packet loss/);
      },
    );

    describe.skipIf(needs('ping', 'sysctl'))('pings', () => {
      it.each([
        ['ping sockets', '0 2147483647'],
        ['raw sockets', '1 0'],
      ])(
        'hosts by %s, which answer late, and hears of those that cannot be reached',
        TIME,
        async (_, range) => {
          await using hosts = await withServer();
          await hosts.client.exec(['sysctl', '-qw', `net.ipv4.ping_group_range=${range}`], { check: true });
          await hosts.client.ip(`route add default via ${SERVER}`);
          await hosts.server.exec(
            ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'],
            {
              check: true,
            },
          );
          await hosts.server.ip('route add prohibit 203.0.113.0/24');
          await hosts.server.ip('route add 198.51.100.0/24 dev lo');
          await hosts.server.ip('route add prohibit 2001:db8::/32');
          const ping = 'ping -W 5 -i 0.1';
          const script = `
          ${ping} -c 3 ${SERVER}; ${ping} -c 3 fd06::9; ${ping} -c 1 -s 4000 ${SERVER}
          ${ping} -c 1 203.0.113.1; ${ping} -c 1 2001:db8::1; ${ping} -c 1 -t 1 ${SERVER}; ${ping} -c 1 -t 2 198.51.100.1
          # Two of one time, each with its own replies.
          ${ping} -q -c 20 ${SERVER} & ${ping} -q -c 20 ${SERVER}; wait`;
          const { stdout, stderr } = await hosts.client.exec(
            shell('--deliver sockets --delay 20ms', 'sh', '-c', script),
            PATIENCE,
          );
          expect(stderr).toBe('');
          const times = [...stdout.matchAll(/ttl=63 time=([\d.]+)/g)].map((found) => Number(found[1]));
          expect(times).toHaveLength(7);
          expect(Math.min(...times)).toBeGreaterThanOrEqual(40);
          expect(Math.min(...times)).toBeLessThan(75);
          expect(stdout).toContain(`4008 bytes from ${SERVER}: icmp_seq=1 ttl=63`);
          expect(stdout).toContain(`From ${SERVER} icmp_seq=1 Packet filtered`);
          expect(stdout).toContain(
            'From fd06::9 icmp_seq=1 Destination unreachable: Administratively prohibited',
          );
          expect(stdout).toContain('From 100.64.0.1 icmp_seq=1 Time to live exceeded');
          expect(stdout).toContain(`From ${SERVER} icmp_seq=1 Time to live exceeded`);
          expect(stdout.match(/20 packets transmitted, 20 received, 0% packet loss/g)).toHaveLength(2);
          expect(stdout).not.toContain('DUP!');
        },
      );
    });

    it('has this host at the gateway, with what listens on its loopback', TIME, async () => {
      await using hosts = await twoHosts();
      await serve(hosts.client, '127.0.0.1');
      const script = `curl -s http://$TUNCONNECTOR_GATEWAY:8080/3; ping -c 1 -W 3 $TUNCONNECTOR_GATEWAY >/dev/null && echo pings;
        curl -s -m 5 -o /dev/null http://$TUNCONNECTOR_GATEWAY:81 || echo $?; curl -s http://192.168.6.8:8080/4 || echo closed`;
      const { stdout } = await hosts.client.exec(
        shell('--rootless --delay 5ms', 'sh', '-c', script),
        PATIENCE,
      );
      expect(stdout).toBe('xxxpings\n7\nclosed\n');
    });

    it('asks a name server on a loopback address through the link', TIME, async () => {
      await using hosts = await twoHosts();
      await using scratch = await scratchDirectory();
      const resolv = `${scratch.path}/resolv.conf`;
      await writeFile(resolv, 'nameserver 127.0.0.53\noptions timeout:2 attempts:2\n');
      await hosts.client.node(NAME_SERVER, ['192.0.2.7']).waitFor('ready');
      const command =
        'cat /etc/resolv.conf; timeout 5 getent ahostsv4 some.example; RES_OPTIONS=use-vc timeout 5 getent ahostsv4 tcp.example';
      const { stdout, stderr } = await hosts.client.exec(
        [
          ...['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolv],
          ...shell('--deliver sockets --delay 5ms', 'sh', '-c', command),
        ],
        PATIENCE,
      );
      expect(stderr).toBe('');
      expect(stdout).toMatch(/^nameserver 100\.64\.0\.1\n/);
      expect(stdout.match(/192\.0\.2\.7 +STREAM/g)).toHaveLength(2);
    });

    it.skipIf(needs('iperf3'))(
      'has the rate that was asked for, each way, and of datagrams',
      TIME,
      async () => {
        await using hosts = await twoHosts();
        hosts.server.spawn(['sh', '-c', 'while :; do iperf3 -s -1 --forceflush; done']);
        const rate = async (...more: string[]) => {
          const iperf = ['iperf3', '-c', SERVER, '-t', '3', '-J', ...more];
          const script =
            'for n in 1 2 3 4 5; do timeout 12 "$@" && exit; echo "failed: $?" >&2; sleep 0.2; done; exit 1';
          const run = shell('--rootless --delay 5ms --rate 20mbit', 'sh', '-c', script, 'sh', ...iperf);
          const { stdout } = await hosts.client.exec(run, { timeout: 40_000, check: true });
          const { end } = JSON.parse(stdout.slice(stdout.lastIndexOf('\n{\n') + 1)) as {
            end: { sum_received: { bits_per_second: number } };
          };
          return end.sum_received.bits_per_second / ((20e6 * 1448) / 1500);
        };
        for (const share of [await rate(), await rate('-R')]) {
          expect(share).toBeGreaterThan(0.5);
          expect(share).toBeLessThan(1.05);
        }
        expect(await rate('-u', '-b', '10M', '-l', '1200')).toBeGreaterThan(0.45);
      },
    );

    it('nests', TIME, async () => {
      await using hosts = await withServer();
      const curl = ['curl', '-s', '-w', '%{time_connect}', '-o', '/dev/null', `http://${SERVER}:8080/1`];
      const inner = shell('--deliver sockets --delay 20ms', ...curl);
      const { stdout, stderr } = await hosts.client.exec(
        shell('--rootless --delay 30ms', ...inner),
        PATIENCE,
      );
      expect(stderr).toBe('');
      expect(Number(stdout)).toBeGreaterThanOrEqual(0.1);
    });
  },
);
