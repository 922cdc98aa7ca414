import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorld, type Host, type HostProcess, type World } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';
import { BIN, scratchDirectory, until } from './cli-world.ts';

const TOKEN = 'tls-test-token-0123456789';

describe.skipIf(needs('netns', 'tun', 'ip', 'openssl', 'etcd'))('a chain over TLS', () => {
  let world: World;
  let host: Host;
  let folder: Awaited<ReturnType<typeof scratchDirectory>>;
  const at = (name: string) => `${folder.path}/${name}`;
  const openssl = (...words: string[]) => host.exec(['openssl', ...words], { check: true, cwd: folder.path });

  async function authority(name: string) {
    const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    await openssl(
      ...made,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
    );
  }

  /** A certificate for loopback. @param days negative: it has expired */
  async function certificate(name: string, by: string, days = 2) {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    await openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    await writeFile(at('extensions'), 'subjectAltName=IP:127.0.0.1\n');
    const signed = ['x509', '-req', '-in', `${name}.csr`, '-CA', `${by}.pem`, '-CAkey', `${by}.key`];
    const serial = ['-CAcreateserial', '-extfile', 'extensions', '-days', String(days)];
    await openssl(...signed, ...serial, '-out', `${name}.pem`);
  }

  beforeAll(async () => {
    folder = await scratchDirectory();
    world = await createWorld({ name: 'tls' });
    host = await world.host('all');
    await authority('ca');
    await authority('stranger');
    await certificate('roulette', 'ca');
    await certificate('old', 'ca', -1);
    await certificate('etcd', 'ca');
    await certificate('client', 'ca');
    await writeFile(at('tokens.yaml'), `${TOKEN}: all\n`);
    const functions = 'functions: [pass], chains: { 7: [pass] }, rules: [{ name: all, match: {}, chain: 7 }]';
    await writeFile(at('registry.yaml'), `tenants: { 42: { ${functions} } }\n`);
  }, 60_000);
  afterAll(async () => {
    await world?.close();
    await folder?.[Symbol.asyncDispose]();
  });

  const env = { ...process.env, TUNCONNECTOR_TOKEN: TOKEN };
  async function start(words: string): Promise<HostProcess> {
    const running = host.node(BIN, words.split(' '), { env });
    await running.waitFor(/"event":"up"/, 40_000);
    return running;
  }
  const roulette = (port: number, name: string, words: string) =>
    start(
      `roulette --json --listen 127.0.0.1:${port} --tokens ${at('tokens.yaml')} --tls-cert ${at(`${name}.pem`)} --tls-key ${at(`${name}.key`)} ${words}`,
    );
  const run = (words: string) =>
    host.exec([process.execPath, BIN, ...words.split(' ')], { env, timeout: 40_000 });

  it('has members and commands that trust an authority, and no others', async () => {
    const first = roulette(7590, 'roulette', `--store ${at('store')} --config ${at('registry.yaml')}`);
    await Promise.all([first, roulette(7591, 'old', `--store ${at('old-store')} --tenant 42`)]);
    const here = `--roulette https://127.0.0.1:7590 --tenant 42 --ca ${at('ca.pem')}`;
    const members = [
      `vnf pass ${here} --bind 127.0.0.1:4801 --json`,
      `egress ${here} --bind 127.0.0.1:4802 --nat 198.51.100.80 --json`,
      `ingress ${here} --bind 127.0.0.1:4803 --tun chain1 --address 10.8.0.1/24 --route 203.0.113.0/24 --json`,
    ];
    const running = await Promise.all(members.map(start));
    expect((await run(`chain set function more ${here}`)).code).toBe(0);
    const { replicas } = JSON.parse((await run(`chain show replicas --json ${here}`)).stdout);
    expect(replicas).toHaveLength(3);
    const watch = host.node(BIN, `chain watch --json ${here}`.split(' '), { env });
    await watch.waitFor(/"t":"snap"/, 20_000);
    expect((await watch.stop('SIGINT', 20_000)).code).toBe(0);

    const wrong = `--roulette https://127.0.0.1:7590 --tenant 42 --ca ${at('stranger.pem')}`;
    const nobodys = '--roulette https://127.0.0.1:7590 --tenant 42';
    const plain = '--roulette http://127.0.0.1:7590 --tenant 42';
    const expired = `--roulette https://127.0.0.1:7591 --tenant 42 --ca ${at('ca.pem')}`;
    const told: [words: string, line: RegExp][] = [
      [`chain show ${wrong}`, /its certificate is not trusted/],
      [`vnf pass ${wrong} --bind 127.0.0.1:4811`, /its certificate is not trusted/],
      [`egress ${wrong} --bind 127.0.0.1:4812 --nat 198.51.100.81`, /its certificate is not trusted/],
      [`chain show ${nobodys}`, /its certificate is not trusted/],
      [`chain show ${expired}`, /its certificate has expired\); give it one that is good/],
      [`ingress ${expired} --bind 127.0.0.1:4813 --tunnel 10.9.0.1/24`, /its certificate has expired/],
      [`vnf pass ${plain} --bind 127.0.0.1:4814`, /Roulette/],
    ];
    await Promise.all(
      told.map(async ([words, line]) => {
        const { code, stderr } = await run(words);
        expect([words, code]).toEqual([words, 4]);
        expect(stderr).toMatch(line);
        expect(stderr).toMatch(/^tunconnector: .*\n$/);
      }),
    );
    const ended = await Promise.all(running.map((each) => each.stop('SIGINT', 8000)));
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0]);
  }, 90_000);

  it('keeps its registry in three etcds that ask for certificates, one of which dies', async () => {
    const names = ['m0', 'm1', 'm2'];
    const url = (n: number, peer = 0) => `https://127.0.0.1:${23790 + 2 * n + peer}`;
    const files = [
      '--cert-file',
      at('etcd.pem'),
      '--key-file',
      at('etcd.key'),
      '--trusted-ca-file',
      at('ca.pem'),
    ];
    const peers = ['cert-file', at('etcd.pem'), 'key-file', at('etcd.key'), 'trusted-ca-file', at('ca.pem')];
    const etcds = names.map((name, n) =>
      host.spawn([
        ...['etcd', '--name', name, '--data-dir', at(name), '--logger', 'zap', '--log-outputs', 'stdout'],
        ...[
          '--listen-client-urls',
          url(n),
          '--advertise-client-urls',
          url(n),
          ...files,
          '--client-cert-auth',
        ],
        ...['--listen-peer-urls', url(n, 1), '--initial-advertise-peer-urls', url(n, 1)],
        ...peers.map((word, i) => (i % 2 === 0 ? `--peer-${word}` : word)),
        ...[
          '--peer-client-cert-auth',
          '--initial-cluster',
          names.map((each, i) => `${each}=${url(i, 1)}`).join(','),
        ],
      ]),
    );
    await Promise.all(etcds.map((each) => each.waitFor(/serving client traffic/, 30_000)));
    const store = `--store etcd://${names.map((_, n) => url(n).slice(8)).join(',')}`;
    const ca = `--etcd-ca ${at('ca.pem')}`;
    // Without a certificate of its own nobody is let in.
    const refused = await run(`roulette --listen 127.0.0.1:7600 ${store} ${ca}`);
    expect([refused.code, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toMatch(/^tunconnector: .*\n$/);
    const tls = `${ca} --etcd-cert ${at('client.pem')} --etcd-key ${at('client.key')}`;
    await roulette(7592, 'roulette', `${store} ${tls} --config ${at('registry.yaml')}`);
    const here = `--roulette https://127.0.0.1:7592 --tenant 42 --ca ${at('ca.pem')}`;
    // With an authority of the system's, which here is one more of Node's.
    const system = { ...env, NODE_EXTRA_CA_CERTS: at('ca.pem') };
    const own = `--etcd-cert ${at('client.pem')} --etcd-key ${at('client.key')}`;
    const words = `roulette --json --listen 127.0.0.1:7593 ${store.replace('etcd:', 'etcds:')} ${own} --tokens ${at('tokens.yaml')}`;
    const another = host.node(BIN, words.split(' '), { env: system });
    await another.waitFor(/"event":"up".*"store":"etcds:/, 30_000);
    expect((await another.stop('SIGINT', 20_000)).code).toBe(0);
    await start(`vnf pass ${here} --bind 127.0.0.1:4821 --json`);
    await etcds[0]!.stop('SIGKILL');
    expect(await until(async () => (await run(`chain set function later ${here}`)).code === 0, 15_000)).toBe(
      true,
    );
    const { functions } = JSON.parse((await run(`chain show functions --json ${here}`)).stdout);
    expect(functions.map(({ name }: { name: string }) => name)).toContain('later');
    const { replicas } = JSON.parse((await run(`chain show replicas --json ${here}`)).stdout);
    expect(replicas).toHaveLength(1);
  }, 90_000);
});
