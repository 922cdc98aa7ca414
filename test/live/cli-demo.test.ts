import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';

const script = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));
const scratch = () => readdirSync(tmpdir()).filter((name) => name.startsWith('tunconnector-demo-'));

describe.skipIf(needs('root', 'userns', 'tun', 'ip', 'ping', 'curl', 'setpriv', 'tshark'))(
  'npm run demo',
  () => {
    it('works without any privilege, captures what crosses the chain, and leaves nothing behind', () => {
      const before = scratch();
      const folder = mkdtempSync(path.join(tmpdir(), 'demo-capture-'));
      const file = path.join(folder, 'chain.pcapng');
      try {
        const drop = ['--bounding-set=-sys_admin,-net_admin', '--inh-caps=-all', '--'];
        const argv = [...drop, process.execPath, script, '--pcap', file];
        const { status, stdout, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8', timeout: 170_000 });
        expect(stderr).toContain('✓ the rest of the download at full speed, its hash checked');
        expect(stdout).toMatch(/hosts +│ 10 namespaces inside a user namespace/);
        expect(stdout).toMatch(/ping +│ [\d.]+ ms on average, 0 % lost/);
        expect(stdout).toMatch(
          /killed +│ counter-[12] \(kill -9\): the download went on through counter-[12]/,
        );
        expect(stdout).toMatch(/download +│ 60 MB in [\d.]+ s, SHA-256 equal/);
        expect(stdout).toMatch(/edited +│ firewall, mark, counter: \d+ packets of the download passed mark/);
        expect(stdout).toMatch(/capture +│ \d+ packets between the hosts of the chain/);
        expect(stdout).toMatch(/left behind +│ nothing/);
        expect(status).toBe(0);
        expect(scratch().filter((name) => !before.includes(name))).toEqual([]);
        const tshark = (...words: string[]) =>
          spawnSync('tshark', ['-r', file, '--disable-protocol', 'http', ...words], {
            encoding: 'utf8',
            maxBuffer: 1 << 28,
          }).stdout.trim();
        expect(tshark('-Y', '_ws.malformed')).toBe('');
        const read = tshark('-Y', 'nsh.spi && nsh.spi != 1', '-T', 'fields', '-e', 'nsh.spi', '-e', 'nsh.si');
        // Two functions at first, three in the end, there and back. Path 1 is Roulette's question whether a replica lives.
        const places = [7, 0x800007].flatMap((spi) => [252, 253, 254, 255].map((si) => `${spi}\t${si}`));
        expect([...new Set(read.split('\n'))].sort()).toEqual(places.sort());
      } finally {
        rmSync(folder, { recursive: true });
      }
    }, 240_000);
  },
);
