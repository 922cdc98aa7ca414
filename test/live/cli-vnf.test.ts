import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RouletteClient } from '../../src/control/client/roulette.ts';

const BIN = fileURLToPath(new URL('../../bin/tunconnector.js', import.meta.url));
const TOKEN = 'vnf-test-token-0123456789';
const TENANT = 42;

const folder = mkdtempSync(path.join(tmpdir(), 'cli-vnf-'));
const running: ChildProcess[] = [];
let url: string;
let client: RouletteClient;

const file = (name: string, text: string): string => {
  const place = path.join(folder, name);
  writeFileSync(place, text);
  return place;
};

interface Run {
  child: ChildProcess;
  out: string;
  err: string;
  /** Until standard output has it. */
  waitFor(text: string | RegExp, from?: number): Promise<void>;
  ended(): Promise<number | null>;
}

function command(words: string[], env: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, [BIN, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TUNCONNECTOR_TOKEN: TOKEN, ...env },
  });
  running.push(child);
  const run: Run = {
    child,
    ...{ out: '', err: '' },
    async waitFor(text, from = 0) {
      const isThere = () =>
        typeof text === 'string' ? run.out.slice(from).includes(text) : text.test(run.out.slice(from));
      for (let i = 0; i < 1500 && !isThere(); i++) {
        if (child.exitCode !== null) break;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      if (!isThere()) throw new Error(`no ${text} in:\n${run.out}${run.err}`);
    },
    async ended() {
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      return child.exitCode ?? (child.signalCode === null ? null : 128);
    },
  };
  child.stdout!.on('data', (text) => {
    run.out += text;
  });
  child.stderr!.on('data', (text) => {
    run.err += text;
  });
  return run;
}

let ports = 41_000 + (process.pid % 2000) * 4;
/** A chain port of its own. */
const bind = () => `127.0.0.1:${ports++}`;
const vnf = (what: string, ...words: string[]) => {
  const where = ['--roulette', url, '--tenant', String(TENANT)];
  return command(['vnf', what, ...where, ...(words.includes('--bind') ? [] : ['--bind', bind()]), ...words]);
};

const replicas = async () =>
  (await client.replicas()).replicas.map(({ function: of, state, weight }) => ({ of, state, weight }));

const passing = (name: string) => `export default { name: '${name}', process: () => 'forward' };`;

beforeAll(async () => {
  const functions = '[fw, counter, passing, rewrite]';
  const config = `tenants: { ${TENANT}: { functions: ${functions}, chains: { 7: [fw] } } }`;
  const store = path.join(folder, 'store');
  const tokens = file(
    'tokens.yaml',
    `${TOKEN}: [${TENANT}]\nanother-test-token-0123456789: [7]\nevery-test-token-0123456789: all\n`,
  );
  const words = ['--config', file('roulette.yaml', config), '--store', store, '--tokens', tokens];
  const roulette = command(['roulette', '--json', '--listen', '127.0.0.1:0', ...words]);
  await roulette.waitFor('"up"');
  url = JSON.parse(roulette.out.split('\n')[0]!).url;
  client = new RouletteClient({ url, tenant: TENANT, token: TOKEN });
}, 60_000);

afterAll(async () => {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
});

describe('tunconnector vnf', () => {
  it('is a replica under the name and weight that it is given, drains, and leaves', async () => {
    const run = vnf('counter', '--function', 'fw', '--weight', '5', '--quiet', '500ms');
    await run.waitFor(/fw \d+ at 127\.0\.0\.1:\d+\n/);
    expect(await replicas()).toEqual([{ of: 'fw', state: 'ready', weight: 5 }]);
    run.child.kill('SIGTERM');
    await run.waitFor('draining');
    await expect.poll(replicas).toEqual([{ of: 'fw', state: 'draining', weight: 5 }]);
    expect(await run.ended()).toBe(0);
    expect(run.out).toMatch(/up for .*\n {2}udp\.out -> hop\.outside: \d+ packets/);
    expect(run.err).toBe('');
    expect(await replicas()).toEqual([]);
  }, 60_000);

  it('ends at once when it is told twice', async () => {
    const run = vnf('counter', '--drain', '1h', '--quiet', '1h');
    await run.waitFor('counter ');
    run.child.kill('SIGTERM');
    await run.waitFor('draining');
    const asked = performance.now();
    run.child.kill('SIGTERM');
    expect(await run.ended()).toBe(143);
    expect(performance.now() - asked).toBeLessThan(2000);
  }, 60_000);

  it('loads its file anew when it changes and on SIGHUP, and stays as it is when that is wrong', async () => {
    const place = file('passing.mjs', passing('passing'));
    // Whose capture is complete, although several threads have written it.
    const run = vnf(place, '--json', '--pcap', `${place}.pcapng`);
    await run.waitFor('"event":"up"');
    writeFileSync(place, `${passing('passing')}\n// another`);
    await run.waitFor('"event":"reloaded"');
    let said = run.out.length;
    run.child.kill('SIGHUP');
    await run.waitFor('"event":"reloaded"', said);
    said = run.out.length;
    writeFileSync(place, 'throw new Error("not today");');
    await run.waitFor('"event":"not-reloaded"', said);
    expect(run.out.slice(said)).toContain('not today');
    run.child.kill('SIGINT');
    expect(await run.ended()).toBe(0);
    const events = run.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).event);
    expect(events[0]).toBe('roulette');
    expect(events.at(-1)).toBe('report');
  }, 60_000);

  it('takes options from a file, which those of the command line win over', async () => {
    const config = file('vnf.yaml', `file: rewrite\nroulette: ${url}\noptions: { dscp: 10, ttl: 1000 }\n`);
    const words = ['--config', config, '--tenant', String(TENANT), '--bind', bind()];
    const wrong = command(['vnf', ...words]);
    expect(await wrong.ended()).toBe(2);
    expect(wrong.err).toMatch(/^tunconnector: ttl: found 1000, .*\n$/);
    const run = command(['vnf', ...words, '--option', 'ttl=9', '--json', '--metrics', '127.0.0.1:0']);
    await run.waitFor('"event":"up"');
    const up = run.out.split('\n').find((line) => line.includes('"up"'))!;
    const answer = await fetch(JSON.parse(up).metrics, { headers: { authorization: `Bearer ${TOKEN}` } });
    const figures = await answer.text();
    expect(figures).toContain('tunconnector_chain_registered{role="rewrite"} 1');
    run.child.kill('SIGINT');
    expect(await run.ended()).toBe(0);
  }, 60_000);
});

describe('a mistake with vnf', () => {
  const mistakes: [title: string, what: () => string, words: string[], code: number, line: RegExp][] = [
    ['a missing file', () => './nowhere.mjs', [], 2, /there is no file \.\/nowhere\.mjs; name one/],
    [
      'an unknown name',
      () => 'fierwall',
      [],
      2,
      /no ready-made function "fierwall"; did you mean firewall\?/,
    ],
    [
      'a name like none',
      () => 'xyzzy',
      [],
      2,
      /"xyzzy"; there are pass, .*; a function of your own is a file/,
    ],
    [
      'a file that throws',
      () => file('throws.mjs', 'throw new Error("not today");'),
      [],
      2,
      /throws\.mjs cannot be loaded: not today/,
    ],
    [
      'no default export',
      () => file('none.mjs', 'export const x = 1;'),
      [],
      2,
      /has no function as its default export; export default/,
    ],
    ['an option that it does not take', () => 'counter', ['--option', 'x=1'], 2, /found the unknown key "x"/],
    [
      'an option without a value',
      () => 'counter',
      ['--option', 'x'],
      2,
      /--option: found "x", expected KEY=VALUE/,
    ],
    [
      'an option of the command that is not there',
      () => 'counter',
      ['--wieght', '3'],
      2,
      /--wieght; did you mean --weight\?/,
    ],
    [
      'another name than chains can have',
      () => 'counter',
      ['--function', 'A b'],
      2,
      /name: found "A b", expected a name/,
    ],
  ];
  it.each(mistakes)(
    '%s is told in one line',
    async (_title, what, words, code, line) => {
      const run = vnf(what(), ...words);
      expect(await run.ended()).toBe(code);
      expect(run.err).toMatch(line);
      expect(run.err).toMatch(/^tunconnector: .*\n$/);
      expect(run.out).toBe('');
    },
    60_000,
  );

  it('a taken port is named', async () => {
    const socket = createSocket('udp4');
    const where = bind();
    socket.bind(Number(where.split(':')[1]), '127.0.0.1');
    await once(socket, 'listening');
    const run = vnf('counter', '--bind', where);
    expect(await run.ended()).toBe(5);
    expect(run.err).toMatch(
      /^tunconnector: the UDP port .* is taken by another program .*; choose another port, .*\n$/,
    );
    expect(run.err).toContain(where);
    socket.close();
  }, 60_000);

  it('a Roulette that is not there is told, and a token that is not accepted', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as { port: number };
    closed.close();
    const words = ['counter', '--tenant', String(TENANT)];
    const away = command(['vnf', ...words, '--bind', bind(), '--roulette', `http://127.0.0.1:${port}`]);
    const refused = command(['vnf', ...words, '--bind', bind(), '--roulette', url], {
      TUNCONNECTOR_TOKEN: 'wrong-test-token-0123456789',
    });
    const stranger = command(['vnf', ...words, '--bind', bind(), '--roulette', url], {
      TUNCONNECTOR_TOKEN: 'another-test-token-0123456789',
    });
    const nobodys = command(['vnf', 'counter', '--tenant', '9', '--bind', bind(), '--roulette', url], {
      TUNCONNECTOR_TOKEN: 'every-test-token-0123456789',
    });
    expect([await away.ended(), await refused.ended(), await stranger.ended()]).toEqual([4, 4, 4]);
    expect(await nobodys.ended()).toBe(4);
    expect(nobodys.err).toBe('tunconnector: Roulette knows no tenant 9; make it first\n');
    expect(away.err).toMatch(/^tunconnector: Roulette cannot be reached: .*\n$/);
    expect(refused.err).toMatch(/^tunconnector: .*token.*\n$/);
    expect(stranger.err).toMatch(/^tunconnector: .*\n$/);
  }, 60_000);

  it('a function that was not declared is told at once, and it is there as soon as it is', async () => {
    const run = vnf(file('later.mjs', passing('later')));
    await run.waitFor('Roulette refuses: there is no function later; declare it first\n');
    await client.putFunction('later', {});
    await run.waitFor(/later \d+ at /);
    expect(run.out.match(/refuses/g)).toHaveLength(1);
    run.child.kill('SIGINT');
    expect(await run.ended()).toBe(0);
  }, 60_000);
});
