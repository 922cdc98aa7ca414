import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { addTunnelOptions, quiet, settingsOf } from '../../src/cli/command-line.ts';
import { readConfigFile } from '../../src/cli/config-file.ts';
import { tunnelOptions } from '../../src/cli/settings.ts';
import { checkTunnelOptions } from '../../src/tunnel/connector/options.ts';
import { read } from '../house/sources.ts';
import { needs } from '../needs.ts';

/** Parses a command line as the command does, and checks what comes of it. */
function understood(argv: readonly string[]) {
  const command = quiet(addTunnelOptions(new Command('tunconnector'))).action(() => {});
  command.parse([...argv], { from: 'user' });
  return checkTunnelOptions(tunnelOptions(settingsOf(command).settings));
}

/** The command lines of a page, without comments. */
const commandLines = (page: string) =>
  [...read(page).matchAll(/^tunconnector (-.*)$/gm)]
    .map((found) => found[1]!.replace(/\s+#.*$/, ''))
    .filter((line) => !line.startsWith('--help'));

/** As a shell makes words of it. */
const wordsOf = (line: string) =>
  [...line.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word);

describe('the command lines of', () => {
  it.each(['docs/cli.md'])('%s are understood', (page) => {
    const lines = commandLines(page);
    expect(lines.length).toBeGreaterThan(5);
    for (const line of lines) expect(understood(wordsOf(line))).toHaveProperty('format');
  });

  it('a page that is wrong are not', () => {
    expect(() => understood('-m server -i 192.168.6.9'.split(' '))).toThrow(/did you mean -r/);
  });
});

describe('the systemd unit', () => {
  const unit = read('examples/systemd/tunconnector@.service');

  it.skipIf(needs('systemd-analyze'))('is what systemd understands', () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-unit-'));
    try {
      const file = path.join(directory, 'tunconnector@office.service');
      // It also looks whether the program is installed, which is not the unit's affair.
      writeFileSync(file, unit.replace('/usr/bin/tunconnector', process.execPath));
      const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
      expect({ status, output: stdout + stderr }).toEqual({ status: 0, output: '' });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('starts the command with options that it has', () => {
    const [, line] = /^ExecStart=\/usr\/bin\/tunconnector (.*)$/m.exec(unit)!;
    expect(line).toBe('--config /etc/tunconnector/%i.yaml');
    expect(unit).toMatch(/^CapabilityBoundingSet=CAP_NET_ADMIN$/m);
    expect(unit).toMatch(/^DeviceAllow=\/dev\/net\/tun rw$/m);
  });

  it('has a configuration beside it that the command takes', () => {
    const settings = readConfigFile('examples/systemd/office.yaml');
    expect(checkTunnelOptions(tunnelOptions(settings))).toMatchObject({
      server: { interface: 'tun0', addresses: ['10.0.0.2/24', 'fd00::2/64'], port: 55555 },
    });
  });
});

describe('the container', () => {
  interface Service {
    command: string[];
    cap_drop: string[];
    cap_add: string[];
    devices: string[];
    build?: { context: string; dockerfile: string };
    ports?: string[];
  }
  const compose = parse(read('examples/container/compose.yaml'), { merge: true }) as {
    services: Record<string, Service>;
  };

  it('has services with nothing but NET_ADMIN and /dev/net/tun, and command lines that are understood', () => {
    expect(Object.keys(compose.services)).toEqual(['server', 'client']);
    for (const service of Object.values(compose.services)) {
      expect(service.cap_drop).toEqual(['ALL']);
      expect(service.cap_add).toEqual(['NET_ADMIN']);
      expect(service.devices).toEqual(['/dev/net/tun:/dev/net/tun']);
    }
    const [server, client] = Object.values(compose.services).map(({ command }) => understood(command));
    expect(compose.services.server!.ports).toEqual([`${server!.server!.port}:${client!.client!.port}/udp`]);
    expect(client!.client!.remote).toBe('server');
  });

  it('is built from instructions that Docker has, and copies what is there', () => {
    const file = compose.services.server!.build!.dockerfile;
    const known = /^(FROM|RUN|WORKDIR|COPY|ENTRYPOINT|CMD)$/;
    const lines = read(file)
      .replace(/\\\n/g, '')
      .split('\n')
      .filter((line) => line.trim() !== '' && !line.startsWith('#'));
    expect(lines.map((line) => line.split(' ')[0]).filter((word) => !known.test(word!))).toEqual([]);
    const stages = lines.flatMap((line) => / AS (\w+)$/.exec(line)?.[1] ?? []);
    const from = lines.flatMap((line) => /^COPY --from=(\w+)/.exec(line)?.[1] ?? []);
    expect(from.filter((stage) => !stages.includes(stage))).toEqual([]);
    const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts);
    const runs = [...read(file).matchAll(/npm run (\S+)/g)].map((found) => found[1]);
    expect(runs.filter((name) => !scripts.includes(name!))).toEqual([]);
  });
});
