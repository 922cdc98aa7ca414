/** A chain between a client and a server that know nothing of it, every member on a host of its own. */
import { writeFile } from 'node:fs/promises';
import { httpOf } from '../../src/chain/roulette/remote/api.ts';
import type { FlowDocument } from '../../src/control/client/roulette.ts';
import { createWorld, type Host, type HostProcess, type World } from '../../src/testing/index.ts';
import { BIN, scratchDirectory } from './cli-world.ts';

/** What Roulette has at first: everything goes through `fw`. */
const DECLARED = {
  tenants: {
    42: {
      functions: ['fw', 'dpi'],
      chains: { 7: ['fw'] },
      rules: [{ name: 'all', match: {}, chain: 7 }],
    },
  },
};

export const TOKEN = 'chain-test-token-0123456789';
export const ROULETTE = 'http://10.9.0.1:7590';
export const SERVER = { v4: '203.0.113.9', v6: '2001:db8:1::9' };
export const NAT = { v4: '198.51.100.80', v6: '2001:db8:80::1' };
export const CLIENT = { v4: '10.8.0.2', v6: 'fd08::2' };

export interface ChainHosts extends AsyncDisposable {
  world: World;
  /** The switch between the members: what crosses it is the chain's. */
  lan: Host;
  client: Host;
  ingress: Host;
  egress: Host;
  server: Host;
  functions: Host[];
  roulette: HostProcess;
  /** A request to Roulette, over HTTP. */
  ask(name: string, body: object): Promise<unknown>;
  /** The flows that it knows, 1000 at most. */
  flows(): Promise<FlowDocument[]>;
  /**
   * A replica on one of the hosts for functions.
   * @param words what it is, with options: `counter`, `firewall --option rules=...`
   */
  replica(host: number, name?: string, words?: string): Promise<HostProcess>;
  /** A command, until it is up; the words as a person would type them, or one by one. */
  start(host: Host, words: string | string[]): Promise<HostProcess>;
}

async function start(host: Host, words: string | string[]): Promise<HostProcess> {
  const argv = typeof words === 'string' ? words.split(' ') : words;
  const running = host.node(BIN, argv, { env: { ...process.env, TUNCONNECTOR_TOKEN: TOKEN } });
  await running.waitFor(/"event":"up"/, 40_000);
  return running;
}

export async function chainHosts(): Promise<ChainHosts> {
  const world = await createWorld({ name: 'chain' });
  const folder = await scratchDirectory();
  const names = ['client', 'ingress', 'egress', 'server', 'registry', 'f0', 'f1', 'f2', 'f3'];
  const made = await Promise.all(names.map((name) => world.host(name)));
  const [client, ingress, egress, server, registry, ...functions] = made as [
    Host,
    Host,
    Host,
    Host,
    Host,
    ...Host[],
  ];
  const members = [registry, ingress, egress, ...functions];
  const addresses = members.map((host, n) => ({
    host,
    addresses: [`10.9.0.${n + 1}/24`, `fd09::${n + 1}/64`],
  }));
  const lan = await world.bridge(addresses, { name: 'lan' });
  await world.wire(client, ingress, { a: '192.0.2.1/24', b: '192.0.2.10/24' });
  await world.wire(egress, server, {
    a: ['203.0.113.1/24', '2001:db8:1::1/64'],
    b: [`${SERVER.v4}/24`, `${SERVER.v6}/64`],
  });
  await server.ip([`route add ${NAT.v4} via 203.0.113.1`, `route add ${NAT.v6} via 2001:db8:1::1`]);
  await writeFile(`${folder.path}/roulette.json`, JSON.stringify(DECLARED));
  await writeFile(`${folder.path}/tokens.json`, JSON.stringify({ [TOKEN]: [42] }));
  const files = `--config ${folder.path}/roulette.json --tokens ${folder.path}/tokens.json`;
  const roulette = await start(
    registry,
    `roulette --listen 10.9.0.1 ${files} --store ${folder.path}/store --json`,
  );
  const curl = async (method: string, path: string, body = '') => {
    const data = body === '' ? [] : ['-H', 'content-type: application/json', '-d', body];
    const auth = ['-H', `authorization: Bearer ${TOKEN}`];
    const { stdout } = await registry.exec([
      ...['curl', '-sS', '-m', '5', '-X', method, ...auth, ...data],
      `${ROULETTE}${path}`,
    ]);
    return JSON.parse(stdout);
  };
  return {
    ...{ world, lan, client, ingress, egress, server, functions, roulette },
    async ask(name, body) {
      const { method, path, body: text } = httpOf(42, name, body)!;
      return curl(method, path, text);
    },
    flows: async () => (await curl('GET', '/v1/tenants/42/flows?limit=1000')).flows,
    replica: (n, name = 'fw', words = 'pass') =>
      start(functions[n]!, `vnf ${words} --function ${name} --roulette ${ROULETTE} --tenant 42 --json`),
    start,
    async [Symbol.asyncDispose]() {
      await world.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A chain of a firewall and a counter between client and server, ready for packets. */
export interface RunningChain extends ChainHosts {
  firewall: HostProcess;
  counter: HostProcess;
  /** Another one on hosts 2 and 3, of function `dpi`. */
  another(host: number): Promise<HostProcess>;
}

/** @param to what more goes through the chain: `--to PREFIX` */
export async function runningChain(to = ''): Promise<RunningChain> {
  const hosts = await chainHosts();
  try {
    await hosts.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
    const allow = ['tcp', 'udp', 'icmp', 'icmp6'].flatMap((what) => ['--option', `rule=allow *:${what}`]);
    const where = ['--function', 'fw', '--roulette', ROULETTE, '--tenant', '42', '--json'];
    const another = (host: number) => hosts.replica(host, 'dpi', 'counter --drain 10s --quiet 1s');
    const [firewall, counter] = await Promise.all([
      hosts.start(hosts.functions[0]!, ['vnf', 'firewall', ...where, ...allow]),
      another(1),
      hosts.start(hosts.egress, EGRESS),
      hosts.start(hosts.ingress, INGRESS),
    ]);
    await hosts.start(hosts.client, `${TO_SERVER} ${to}`.trim());
    return { ...hosts, firewall, counter, another };
  } catch (error) {
    await hosts[Symbol.asyncDispose]();
    throw error;
  }
}

export const INGRESS = `ingress --roulette ${ROULETTE} --tenant 42 --tunnel 10.8.0.1/24 --tunnel fd08::1/64 --json`;
export const EGRESS = `egress --roulette ${ROULETTE} --tenant 42 --nat ${NAT.v4} --nat ${NAT.v6} --json`;
export const TO_SERVER =
  'client --ingress 192.0.2.10 --address 10.8.0.2/24 --address fd08::2/64 --to 203.0.113.0/24 --to 2001:db8:1::/64 --json';
