import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';

const script = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));
const scratch = () => readdirSync(tmpdir()).filter((name) => name.startsWith('tunconnector-demo-'));

describe.skipIf(needs('root', 'userns', 'tun', 'ip', 'ping', 'curl', 'iperf3', 'setpriv'))(
  'npm run demo',
  () => {
    it('works without any privilege, in less than 30 s, and leaves nothing behind', () => {
      const before = scratch();
      const drop = ['--bounding-set=-sys_admin,-net_admin', '--inh-caps=-all', '--'];
      const started = performance.now();
      const { status, stdout, stderr } = spawnSync('setpriv', [...drop, process.execPath, script], {
        encoding: 'utf8',
        timeout: 50_000,
      });
      const took = performance.now() - started;
      expect(stderr).toContain('✓ download of 48 MB over HTTP, its hash checked');
      expect(stdout).toMatch(/hosts +│ two namespaces inside a user namespace/);
      expect(stdout).toMatch(/ping +│ [\d.]+ ms on average, 0 % lost/);
      expect(stdout).toMatch(/download +│ 48 MB, SHA-256 equal/);
      expect(stdout).toMatch(/TCP, server to client +│ \d+\.\d\d Gbit\/s/);
      expect(stdout).toMatch(/left behind +│ nothing/);
      expect(status).toBe(0);
      expect(took).toBeLessThan(30_000);
      expect(scratch().filter((name) => !before.includes(name))).toEqual([]);
    });
  },
);
