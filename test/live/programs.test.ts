import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type Host, type Wire, type World } from '../../src/testing/namespaces.ts';
import { needs } from '../needs.ts';
import { PORT, TunnelEnd } from './tunnel-end.ts';

describe.skipIf(needs('root', 'tun', 'ssh', 'sshd', 'ssh-keygen', 'curl', 'python3'))(
  'real programs across a tunnel',
  () => {
    let world: World;
    let a: Host;
    let b: Host;
    let wire: Wire;
    let folder: string;
    const ends: TunnelEnd[] = [];

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'programs-'));
      world = await createWorld();
      a = await world.host('a');
      b = await world.host('b');
      wire = await world.wire(a, b, { a: '192.168.6.8/24', b: '192.168.6.9/24' });
      ends.push(await new TunnelEnd(b).server({ addresses: ['10.0.0.2/24'] }));
      ends.push(await new TunnelEnd(a).client({ addresses: ['10.0.0.3/24'], server: `192.168.6.9:${PORT}` }));
      await ends[1].event('up');
    });

    afterEach(async () => {
      for (const end of ends.splice(0)) await end.net.close();
      await world.close();
      await rm(folder, { recursive: true });
    });

    it('an ssh session goes on after the path was cut for 3 s', { timeout: 40_000 }, async () => {
      const key = join(folder, 'key');
      await a.exec(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], { check: true });
      await mkdir('/run/sshd', { recursive: true });
      const settings = [
        `HostKey ${key}`,
        `AuthorizedKeysFile ${key}.pub`,
        'StrictModes no',
        'UsePAM no',
        'PermitRootLogin yes',
        'PasswordAuthentication no',
        `PidFile ${folder}/pid`,
      ];
      await writeFile(join(folder, 'sshd_config'), settings.join('\n'));
      const sshd = b.spawn([
        '/usr/sbin/sshd',
        '-D',
        '-e',
        '-f',
        join(folder, 'sshd_config'),
        '-o',
        'ListenAddress=10.0.0.2:2222',
      ]);
      await sshd.waitFor(/Server listening/);
      const options = [
        'StrictHostKeyChecking=no',
        `UserKnownHostsFile=${folder}/known`,
        'BatchMode=yes',
      ].flatMap((o) => ['-o', o]);
      const count = 'for i in $(seq 1 60); do echo tick $i; sleep 0.1; done; echo finished';
      const session = a.spawn(['ssh', '-i', key, '-p', '2222', ...options, 'root@10.0.0.2', count]);
      await session.waitFor(/tick 5\b/);
      await wire.cut();
      await sleep(3000);
      await wire.restore();
      await session.waitFor(/finished/, 20_000);
      const { code } = await session.ended;
      expect(code).toBe(0);
      expect(session.stdout.match(/tick/g)).toHaveLength(60);
    });

    it('a page of 150 parts and 4 MB arrives whole over 30 connections at once', {
      timeout: 40_000,
    }, async () => {
      const site = join(folder, 'site');
      await mkdir(site);
      const urls: string[] = [];
      let bytes = 0;
      for (let i = 0; i < 150; i++) {
        const size = 500 + ((i * 7919) % 55_000);
        await writeFile(join(site, `part${i}`), new Uint8Array(size).fill(i));
        bytes += size;
        urls.push(`http://10.0.0.2:8000/part${i}`);
      }
      expect(bytes).toBeGreaterThan(3_500_000);
      const server = b.spawn([
        'python3',
        '-u',
        '-m',
        'http.server',
        '8000',
        '--bind',
        '10.0.0.2',
        '--directory',
        site,
      ]);
      await server.waitFor(/Serving HTTP/);
      const { stdout, code } = await a.exec(
        [
          'curl',
          '-s',
          '--parallel',
          '--parallel-max',
          '30',
          '-w',
          '%{http_code} %{size_download}\n',
          ...urls.flatMap((u) => ['-o', '/dev/null', u]),
        ],
        { timeout: 30_000 },
      );
      expect(code).toBe(0);
      const lines = stdout.trim().split('\n');
      expect(lines).toHaveLength(150);
      expect(lines.every((l) => l.startsWith('200 '))).toBe(true);
      expect(lines.map((l) => Number(l.split(' ')[1])).reduce((x, y) => x + y)).toBe(bytes);
    });
  },
);
