import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { RouletteClient } from '../../src/control/client/roulette.ts';

const BIN = fileURLToPath(new URL('../../bin/tunconnector.js', import.meta.url));
const TOKEN = 'correct-horse-battery-staple';
const TIMEOUT = 60_000;

let folder: string;
const running: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'cli-roulette-'));
});
afterEach(async () => {
  for (const each of running.splice(0)) {
    if (each.exitCode !== null || each.signalCode !== null) continue;
    each.kill('SIGKILL');
    await once(each, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

const file = (name: string, text: string): string => {
  const place = path.join(folder, name);
  writeFileSync(place, text);
  return place;
};

/** Runs to its end, in this process: a program takes seconds to load where the machine is busy. */
async function run(args: string[], env: Record<string, string> = {}) {
  const said = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      said[name] += text;
      return true;
    }),
  );
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    await main(args);
    return { ...said, status: process.exitCode };
  } finally {
    process.exitCode = undefined;
    vi.unstubAllEnvs();
    for (const spy of spies) spy.mockRestore();
  }
}

/** A Roulette on a free port, up. */
async function roulette(...args: string[]) {
  const argv = ['roulette', '--json', '--listen', '127.0.0.1:0', ...args];
  if (!args.includes('--store')) argv.push('--store', path.join(folder, 'store'));
  const child = spawn(process.execPath, [BIN, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  const heard = { out: '', err: '' };
  child.stdout.on('data', (text) => {
    heard.out += text;
  });
  child.stderr.on('data', (text) => {
    heard.err += text;
  });
  for (let i = 0; i < 1500 && !heard.out.includes('"up"') && child.exitCode === null; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(heard.err).toBe('');
  const up = JSON.parse(heard.out.split('\n')[0]!);
  return {
    ...{ child, up, heard },
    url: up.url as string,
    async end(signal: NodeJS.Signals) {
      child.kill(signal);
      const [code] = await once(child, 'exit');
      return code as number | null;
    },
  };
}

describe('tunconnector roulette', () => {
  it(
    'serves what its file declares, and a restart undoes no edit',
    async () => {
      const config = file(
        'shop.yaml',
        `store: ${path.join(folder, 'store')}
tenants:
  42:
    description: a shop
    functions: [fw, dpi]
    chains: { 7: [fw, dpi] }
    rules: [{ name: web, match: "*:tcp:443", chain: 7 }]
`,
      );
      const first = await roulette('--config', config, '--store', path.join(folder, 'store'));
      expect(first.up).toMatchObject({ event: 'up', tenants: [42] });
      const chain = async (...args: string[]) => run(['chain', ...args, '--roulette', first.url]);
      expect(JSON.parse((await chain('show', '7', '--json')).stdout)).toMatchObject({ spi: 7, replicas: [] });
      expect(await chain('set', '7', 'dpi')).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^chain 7: dpi, revision 2 \(rev \d+\)\n$/),
      });
      expect(await first.end('SIGTERM')).toBe(0);
      const second = spawn(process.execPath, [
        BIN,
        'roulette',
        '--json',
        '--listen',
        '127.0.0.1:0',
        '--config',
        config,
      ]);
      running.push(second);
      let said = '';
      second.stderr.on('data', (text) => {
        said += text;
      });
      const [line] = await once(second.stdout, 'data');
      const { url } = JSON.parse(String(line));
      expect(said).toBe(
        'tunconnector: tenant 42: the chain 7 is there already and not as declared; it stays as it is\n',
      );
      const shown = (await run(['chain', 'show', 'chains', '--roulette', url])).stdout;
      expect(shown).toMatch(/│ +7 │ dpi +│ both ways +│ +2 │/);
    },
    TIMEOUT,
  );

  it(
    'killed with -9 has lost nothing that it answered',
    async () => {
      const first = await roulette('--tenant', '42');
      const client = new RouletteClient({ url: first.url, tenant: 42 });
      const answered: string[] = [];
      const writing = (async () => {
        for (let i = 0; ; i++) {
          await Promise.all(
            Array.from({ length: 8 }, async (_, n) => {
              await client.putFunction(`f${i}-${n}`);
              answered.push(`f${i}-${n}`);
            }),
          );
        }
      })().catch(() => {});
      // In the middle of writing, however slow the machine is.
      await vi.waitFor(() => expect(answered.length).toBeGreaterThan(24), { timeout: 20_000, interval: 5 });
      first.child.kill('SIGKILL');
      await once(first.child, 'exit');
      await writing;
      const second = await roulette();
      const { functions } = await new RouletteClient({ url: second.url, tenant: 42 }).functions();
      const there = new Set(functions.map(({ name }) => name));
      expect(answered.filter((name) => !there.has(name))).toEqual([]);
    },
    TIMEOUT,
  );

  it(
    'keeps a folder to itself',
    async () => {
      const first = await roulette();
      const store = path.join(folder, 'store');
      const second = await run(['roulette', '--listen', '127.0.0.1:0', '--store', store]);
      expect(second.stderr).toMatch(
        /^tunconnector: another Roulette keeps its registry in .*; end it, or choose another folder; .*\n$/,
      );
      expect(second.status).toBe(1);
      await first.end('SIGINT');
      expect(readdirSync(store)).toEqual(['roulette']);
      await roulette();
    },
    TIMEOUT,
  );

  it(
    'asks for tokens and speaks TLS',
    async () => {
      const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
      const made = spawnSync('openssl', [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...['-subj', '/CN=roulette', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
      ]);
      expect(made.status).toBe(0);
      const tokens = file('tokens.yaml', `${TOKEN}: 42\nother-other-other-other: [43]\n`);
      const token = file('token', `${TOKEN}\n`);
      const { url } = await roulette(
        '--tenant',
        '42',
        '--tokens',
        tokens,
        '--tls-cert',
        cert,
        '--tls-key',
        key,
      );
      expect(url).toMatch(/^https:/);
      const show = (...args: string[]) => run(['chain', 'show', '--roulette', url, ...args]);
      expect((await show('--ca', cert, '--token-file', token)).status).toBe(0);
      expect(await show('--ca', cert)).toMatchObject({
        status: 4,
        stderr: expect.stringMatching(/^tunconnector: there is no token; /),
      });
      expect((await show('--token-file', token)).stderr).toContain('its certificate is not trusted');
      const other = file('other', 'other-other-other-other');
      expect((await show('--ca', cert, '--token-file', other, '--tenant', '42')).stderr).toBe(
        'tunconnector: this token is not for tenant 42\n',
      );
      const watched = spawn(process.execPath, [
        BIN,
        'chain',
        'watch',
        '--json',
        '--roulette',
        url,
        '--ca',
        cert,
        '--token-file',
        token,
      ]);
      running.push(watched);
      const [line] = await once(watched.stdout, 'data');
      expect(JSON.parse(String(line).split('\n')[0]!)).toMatchObject({ t: 'snap', last: true });
    },
    TIMEOUT,
  );

  it.each([
    [
      ['--listen', '0.0.0.0'],
      2,
      /^tunconnector: --listen: others can ask at 0.0.0.0, and there are no tokens; give --tokens FILE\n$/,
    ],
    [['--listen', 'nonsense:x'], 2, /expected an address to listen on/],
    [['--store', 'redis://x'], 2, /expected a folder, etcd:/],
    [['--store', 'etcd://a:b'], 2, /expected HOST:PORT of a member of etcd/],
    [['--store', 'etcds://a:b'], 2, /expected HOST:PORT of a member of etcd/],
    [['--etcd-ca', '/etc/hostname'], 2, /--etcd-ca has no effect without --store etcd/],
    [['--tls-cert', '/etc/hostname'], 2, /--tls-cert and --tls-key belong together/],
    [['--tls-cert', '/etc/hostname', '--tls-key', '/etc/hostname'], 2, /are no certificate and its key/],
    [['--tenant', 'x'], 2, /--tenant: found "x", expected a number/],
    [['--tenants', '4'], 2, /unknown option/],
    [['--tokens', '/nowhere'], 2, /--tokens: cannot read \/nowhere \(ENOENT\)/],
    [['--store', '/proc/x'], 1, /\/proc\/x cannot be made \(ENOENT\)/],
    [['too', 'much'], 2, /unexpected "much"/],
  ])('%j is refused', async (args, status, text) => {
    const ran = await run(['roulette', ...args]);
    expect(ran.stderr).toMatch(text);
    expect(ran.stderr.trim().split('\n')).toHaveLength(1);
    expect(ran.status).toBe(status);
  });

  it.each([
    ['tenants: 4', /tenants: expected tenants by their numbers/],
    ['tenants: { x: {} }', /tenants.x: found "x", expected a number/],
    ['tenants: { 4: { chains: { 0: [a] } } }', /tenants.4.chains.0: found "0", expected a number/],
    ['tenants: { 4: { chains: { 7: [] } } }', /tenants.4.chains.7.*expected/],
    ['tenants: { 4: { colour: red } }', /tenants.4.*colour/],
    ['tenant: x', /found "x", expected a number/],
    ['nonsense: 1', /found the unknown key "nonsense"/],
  ])('the file %j is refused', async (text, message) => {
    const ran = await run([
      'roulette',
      '--config',
      file('bad.yaml', text),
      '--store',
      path.join(folder, 'no'),
    ]);
    expect(ran.stderr).toMatch(message);
    expect(ran.stderr.trim().split('\n')).toHaveLength(1);
    expect(ran.status).toBe(2);
    expect(existsSync(path.join(folder, 'no'))).toBe(false);
  });
});

describe('tunconnector chain', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  it(
    'makes a chain from nothing, shows it, and does not overwrite what others have changed',
    async () => {
      const { url } = await roulette();
      const chain = async (...args: string[]) => run(['chain', ...args], { TUNCONNECTOR_ROULETTE: url });
      expect((await chain('show')).stderr).toBe('tunconnector: there is no tenant yet; give --tenant N\n');
      expect((await chain('set', '7', 'fw', '--tenant', '42')).stderr).toBe(
        'tunconnector: there is no tenant 42\n',
      );
      expect((await chain('set', 'tenant', 'a shop', '--tenant', '42')).status).toBe(0);
      expect((await chain('set', '7', 'fw')).stderr).toMatch(
        /^tunconnector: functions.0: found "fw", expected a function/,
      );
      expect((await chain('set', 'function', 'fw')).status).toBe(0);
      const made = JSON.parse((await chain('set', '7', 'fw', '--json')).stdout);
      expect(made.revision).toBe(1);
      expect((await chain('set', '7', 'fw,fw', '--one-way')).stdout).toMatch(/^chain 7: fw > fw, revision 2/);
      expect((await chain('set', '7', 'fw', '--if-rev', String(made.rev))).stderr).toMatch(/revision/);
      const rules = file('rules.yaml', '- { name: web, match: "*:tcp:443", chain: 7 }');
      expect((await chain('set', 'rules', rules)).stdout).toMatch(/^1 rules/);
      const shown = (await chain('show')).stdout;
      expect(shown).toMatch(/│ +7 │ fw > fw +│ one way +│ +2 │ +0 │ +\d+ │/);
      expect(shown).toContain('*:tcp:443');
      expect((await chain('show', 'flows')).stdout).toBe('no flows\n');
      expect((await chain('show', 'tenants')).stdout).toContain('a shop');
      expect(JSON.parse((await chain('show', '--json')).stdout)).toMatchObject({
        chains: [{ spi: 7 }],
      });
      expect((await chain('set', 'end', '7')).stderr).toMatch(/a chain that the rule web does not lead to/);
      expect((await chain('set', 'rules', file('none.yaml', '[]'))).status).toBe(0);
      expect((await chain('set', 'end', '7')).status).toBe(0);
    },
    TIMEOUT,
  );

  it(
    'watches what changes',
    async () => {
      const { url } = await roulette('--tenant', '42');
      const watched = spawn(process.execPath, [
        BIN,
        'chain',
        'watch',
        'function',
        'tenant',
        '--roulette',
        url,
      ]);
      running.push(watched);
      let text = '';
      watched.stdout.on('data', (more) => {
        text += more;
      });
      const saw = async (pattern: RegExp) => {
        for (let i = 0; i < 500 && !pattern.test(text); i++)
          await new Promise((resolve) => setTimeout(resolve, 20));
        expect(text).toMatch(pattern);
      };
      await saw(/^\d+ = tenant \{.*"description":""\}/);
      await new RouletteClient({ url, tenant: 42 }).putFunction('fw', { description: 'x' });
      await saw(/\n\d+ \+ function fw \{"description":"x"\}\n/);
      expect(text).not.toContain('secret');
      watched.kill('SIGINT');
      expect((await once(watched, 'exit'))[0]).toBe(0);
    },
    TIMEOUT,
  );

  it('without a Roulette says so in one line', async () => {
    const nobody = await run(['chain', 'show', '--roulette', 'http://127.0.0.1:1,http://127.0.0.1:2']);
    expect(nobody.stderr).toBe(
      'tunconnector: no Roulette answers at http://127.0.0.1:1 (nobody listens there), http://127.0.0.1:2 (nobody listens there); check the address, and that it runs\n',
    );
    expect(nobody.status).toBe(4);
    server = createServer((_request, response) => response.writeHead(500).end('<html>'));
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const child = spawn(process.execPath, [
      BIN,
      'chain',
      'show',
      '--tenant',
      '1',
      '--roulette',
      `http://127.0.0.1:${port}`,
    ]);
    let said = '';
    child.stderr.on('data', (text) => {
      said += text;
    });
    await once(child, 'exit');
    expect(said.trim().split('\n')).toHaveLength(1);
  });

  it.each([
    [['shwo'], /did you mean show\?/],
    [['show', 'nothing'], /expected a chain, chains, functions, replicas, rules, flows or tenants/],
    [['show', 'chains', '--if-rev', '4'], /--if-rev has no effect with chain show/],
    [['show', 'chains', '--limit', '4'], /--limit, --spi and --replica are for flows/],
    [['set'], /chain set: set what\?/],
    [['set', 'nothing'], /expected the number of a chain, end, function, rules, replica, tenant/],
    [['set', '0', 'fw'], /expected a number from 1 to 8388607/],
    [['set', 'replica', '17', 'gone'], /found "gone", expected ready or draining/],
    [['set', 'rules', '/nowhere'], /cannot read \/nowhere \(ENOENT\)/],
    [['watch', 'weather'], /found "weather", expected tenant, function/],
    [['show', '--tenant', 'x'], /--tenant: found "x"/],
    [['show', '--roulette', 'nonsense'], /expected where Roulette is; give http:/],
  ])('%j is refused', async (args, text) => {
    const ran = await run(['chain', ...args, ...(args.includes('--tenant') ? [] : ['--tenant', '1'])]);
    expect(ran.stderr).toMatch(text);
    expect(ran.stderr.trim().split('\n')).toHaveLength(1);
    expect(ran.status).toBe(2);
  });
});
