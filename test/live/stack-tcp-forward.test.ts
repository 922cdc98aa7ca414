/** A port of the stack that leads to the kernel's sshd: ssh passes the stack twice. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createConnection } from '../../src/stack/index.ts';
import { needs } from '../needs.ts';
import { scratchDirectory, until } from './cli-world.ts';
import { type Facing, facing, KERNEL, OURS } from './stack-tcp-world.ts';

/** A server of ssh with keys of its own, and how to log in. */
async function sshServer({ kernel }: Facing, folder: string): Promise<string[]> {
  const key = `${folder}/key`;
  await kernel.exec(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], { check: true });
  await mkdir('/run/sshd', { recursive: true });
  const settings = [
    ...[`HostKey ${key}`, `AuthorizedKeysFile ${key}.pub`, 'StrictModes no', 'UsePAM no'],
    ...['PermitRootLogin yes', 'PasswordAuthentication no', 'PrintMotd no', `PidFile ${folder}/pid`],
    ...['Subsystem sftp internal-sftp', `ListenAddress ${KERNEL.v4}:2222`],
  ];
  await writeFile(`${folder}/sshd_config`, settings.join('\n'));
  const server = kernel.spawn(['/usr/sbin/sshd', '-D', '-e', '-f', `${folder}/sshd_config`]);
  await server.waitFor(/Server listening/);
  const options = ['StrictHostKeyChecking=no', `UserKnownHostsFile=${folder}/known`, 'BatchMode=yes'];
  return ['-F', 'none', '-i', key, ...options.flatMap((each) => ['-o', each])];
}

/** What comes to a port of the stack goes on to sshd, and back. */
function forward({ host, serve }: Facing): void {
  const connect = createConnection(host, { allowHalfOpen: true });
  serve(
    22,
    (near) => {
      const far = connect({ host: KERNEL.v4, port: 2222 });
      pipeline(near, far, () => {});
      pipeline(far, near, () => {});
    },
    { allowHalfOpen: true },
  );
}

describe.skipIf(needs('root', 'tun', 'ssh', 'sshd', 'ssh-keygen', 'scp'))(
  'ssh through a port of the stack',
  () => {
    it('echoes keys, copies files both ways, and leaves no connection', async () => {
      await using at = await facing();
      await using folder = await scratchDirectory();
      const login = await sshServer(at, folder.path);
      forward(at);
      const session = at.kernel.spawn([
        'ssh',
        '-tt',
        ...login,
        '-p',
        '22',
        `root@${OURS.v4}`,
        'echo on; cat',
      ]);
      await session.waitFor('on', 30_000);
      // The terminal may still say something of its own.
      session.child.stdin!.write('marker\n');
      await session.waitFor(/marker[\s\S]*marker/, 30_000);
      for (const key of 'abcdefghij') {
        const before = session.stdout.length;
        session.child.stdin!.write(key);
        expect(await until(() => session.stdout.length > before, 15_000), key).toBe(true);
      }
      expect(session.stdout.endsWith('abcdefghij')).toBe(true);
      session.child.stdin!.write('\n\x04');
      expect((await session.ended).code).toBe(0);

      const bytes = randomBytes(4 << 20);
      await writeFile(`${folder.path}/sent`, bytes);
      const place = `root@${OURS.v4}:${folder.path}`;
      const copy = (from: string, to: string) =>
        at.kernel.exec(['scp', ...login, '-q', '-P', '22', from, to], { check: true, timeout: 30_000 });
      await copy(`${folder.path}/sent`, `${place}/stored`);
      await copy(`${place}/stored`, `${folder.path}/back`);
      const hash = (each: Uint8Array) => createHash('sha256').update(each).digest('hex');
      expect(hash(await readFile(`${folder.path}/back`))).toBe(hash(bytes));
      expect(await until(() => at.host.tcp.connections === 0, 15_000)).toBe(true);
      expect(at.host.tcp.memory).toBe(0);
    }, 120_000);
  },
);
