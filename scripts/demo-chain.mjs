/** The chain of the demo: throw-away hosts, the real commands on them, and what is asked of Roulette. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { root } from './setup.mjs';

const COMMAND = path.join(root, 'bin', 'tunconnector.js');
/** For what takes a second on a machine that has nothing else to do, ms. */
export const PATIENCE = 30_000;
const TOKEN = 'only-for-this-demonstration';
const TENANT = '42';
export const SPI = 7;
export const SERVER = '203.0.113.9';
/** What clients leave the egress as. */
const NAT = '198.51.100.80';

/** Its members, by the last part of their address in 10.9.0.0/24. */
const MEMBERS = ['roulette', 'ingress', 'egress', 'firewall', 'counter-1', 'counter-2', 'counter-3', 'mark'];

export async function makeHosts(createWorld) {
  const world = await createWorld({ name: 'demo' });
  const hosts = {};
  for (const host of await Promise.all(['client', 'server', ...MEMBERS].map((name) => world.host(name))))
    hosts[host.name] = host;
  const { client, ingress, egress, server } = hosts;
  const members = MEMBERS.map((name, n) => ({
    host: hosts[name],
    addresses: `10.9.0.${n + 1}/24`,
    name: 'chain',
  }));
  const lan = {
    host: await world.bridge(members, { name: 'lan' }),
    members: MEMBERS.map((name) => hosts[name]),
  };
  await world.wire(client, ingress, { a: '192.0.2.1/24', b: '192.0.2.10/24' });
  await world.wire(egress, server, { a: '203.0.113.1/24', b: `${SERVER}/24` });
  await server.ip([`route add ${NAT} via 203.0.113.1`]);
  return { world, hosts, lan };
}

/** The commands, as they are typed on each host. */
export class DemoChain {
  #hosts;
  #say;
  #env = {
    ...process.env,
    TUNCONNECTOR_TOKEN: TOKEN,
    TUNCONNECTOR_ROULETTE: 'http://10.9.0.1:7590',
  };
  /** Replica ids and processes by the name of their host. */
  replicas = {};

  constructor(hosts, say) {
    this.#hosts = hosts;
    this.#say = say;
  }

  async startRoulette(scratch) {
    const functions = ['firewall', 'counter', 'mark'];
    const rules = [{ name: 'all', match: {}, chain: SPI }];
    const chains = { [SPI]: ['firewall', 'counter'] };
    const config = { tenants: { [TENANT]: { functions, chains, rules } } };
    await writeFile(path.join(scratch, 'chain.json'), JSON.stringify(config));
    await writeFile(path.join(scratch, 'tokens.json'), JSON.stringify({ [TOKEN]: 'all' }));
    const words = '--listen 10.9.0.1 --config chain.json --tokens tokens.json --store store';
    await this.#start('roulette', `roulette ${words}`, { cwd: scratch });
  }

  startMembers() {
    return Promise.all([
      this.startFunction('firewall', [
        'firewall',
        '--option',
        'rule=allow *:tcp:8080',
        '--option',
        'rule=allow *:icmp',
      ]),
      this.startFunction('counter-1', ['counter']),
      this.startFunction('counter-2', ['counter']),
      this.#start('egress', `egress --nat ${NAT} --tenant ${TENANT}`),
      this.#start('ingress', `ingress --tunnel 10.8.0.1/24 --tenant ${TENANT}`),
    ]);
  }

  startClient() {
    return this.#start('client', 'client --ingress 192.0.2.10 --address 10.8.0.2/24 --to 203.0.113.0/24');
  }

  async startFunction(host, words) {
    const process = await this.#start(host, ['vnf', ...words, '--tenant', TENANT]);
    const up = process.stdout.split('\n').find((line) => line.includes('"up"'));
    this.replicas[host] = { id: JSON.parse(up).id, process };
    return this.replicas[host].id;
  }

  async #start(name, words, options = {}) {
    const argv = typeof words === 'string' ? words.split(' ') : words;
    this.#say(name, `tunconnector ${argv.map(quoted).join(' ')}`);
    const process = this.#hosts[name].node(COMMAND, [...argv, '--json'], { env: this.#env, ...options });
    await process.waitFor('"event":"up"', PATIENCE);
    return process;
  }

  /** By the name of its host. */
  kill(name) {
    this.#say(name, 'kill -9');
    this.replicas[name].process.kill('SIGKILL');
  }

  async edit(...functions) {
    const words = ['chain', 'set', String(SPI), ...functions, '--tenant', TENANT];
    this.#say('roulette', `tunconnector ${words.join(' ')}`);
    const env = { env: this.#env };
    const { code, signal } = await this.#hosts.roulette.node(COMMAND, words, env).ended;
    if (code !== 0) throw new Error(`chain set ended with ${code ?? signal}`);
  }

  /** Where the flow with this port goes: replica ids, and the revision of its chain. Undefined before it is registered. */
  async flowTo(port) {
    const auth = `authorization: Bearer ${TOKEN}`;
    const url = `http://10.9.0.1:7590/v1/tenants/${TENANT}/flows?limit=1000`;
    const { stdout } = await this.#hosts.roulette.exec(['curl', '-sS', '-m', '5', '-H', auth, url], {
      check: true,
    });
    return JSON.parse(stdout).flows.find(({ key }) => key.includes(`:${port}`));
  }

  /** Ends a replica; how many packets passed it. */
  async passed(name) {
    const { process } = this.replicas[name];
    await process.stop('SIGINT', PATIENCE);
    const { links } = JSON.parse(process.stdout.trim().split('\n').at(-1));
    return links.find(({ link }) => link.startsWith('hop.function -> ')).packets;
  }

  /** Name of the host of a replica. */
  nameOf(id) {
    return Object.keys(this.replicas).find((name) => this.replicas[name].id === id);
  }
}

const quoted = (word) => (/[ *]/.test(word) ? `'${word}'` : word);
