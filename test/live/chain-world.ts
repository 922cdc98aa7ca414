/** A chain between a client and a server that know nothing of it, every member on a host of its own. */
import { fileURLToPath } from 'node:url';
import { createWorld, type Host, type HostProcess, type World } from '../../src/testing/index.ts';
import { BIN, scratchDirectory } from './cli-world.ts';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}.mjs`, import.meta.url));

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
  /** A request to Roulette. */
  ask(name: string, body: object): Promise<unknown>;
  /**
   * A replica on one of the hosts for functions.
   * @param words what it is, with options: `counter`, `firewall --option rules=...`
   */
  replica(host: number, name?: string, words?: string): Promise<HostProcess>;
  start(host: Host, words: string): Promise<HostProcess>;
}

async function start(host: Host, words: string): Promise<HostProcess> {
  const running = host.node(BIN, words.split(' '), { env: { ...process.env, TUNCONNECTOR_TOKEN: TOKEN } });
  await running.waitFor(/"event":"up"/, 15_000);
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
  const roulette = registry.node(fixture('chain-roulette'), ['10.9.0.1', folder.path, TOKEN]);
  await roulette.waitFor('ready');
  return {
    ...{ world, lan, client, ingress, egress, server, functions, roulette },
    async ask(name, body) {
      const before = roulette.stdout.length;
      roulette.child.stdin!.write(`${name} ${JSON.stringify(body)}\n`);
      for (let i = 0; i < 500 && !roulette.stdout.slice(before).includes('\n'); i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return JSON.parse(roulette.stdout.slice(before));
    },
    replica: (n, name = 'fw', words = 'pass') =>
      start(functions[n]!, `vnf ${words} --function ${name} --roulette ${ROULETTE} --tenant 42 --json`),
    start,
    async [Symbol.asyncDispose]() {
      await world.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

export const INGRESS = `ingress --roulette ${ROULETTE} --tenant 42 --tunnel 10.8.0.1/24 --tunnel fd08::1/64 --json`;
export const EGRESS = `egress --roulette ${ROULETTE} --tenant 42 --nat ${NAT.v4} --nat ${NAT.v6} --json`;
export const TO_SERVER =
  'client --ingress 192.0.2.10 --address 10.8.0.2/24 --address fd08::2/64 --to 203.0.113.0/24 --to 2001:db8:1::/64 --json';
