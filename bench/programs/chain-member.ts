/**
 * A member of a chain that knows what it has to know from the start, and asks no registry: `chain-member.js hop|ingress|egress BIND
 * TABLES [ADDRESS/LENGTH,...]`. TABLES is a file with a `TableUpdate` in JSON. A hop runs the ready-made function `pass`; an end has a TUN `tun0`
 * with the addresses. It says `{"ready":true}` when packets pass, and what passed when it is asked to end.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type NetworkConfig, runInWorker, totalDrops, tun, udp } from 'tunconnector';
import { pass } from 'tunconnector/chain';
import { configureInterface } from 'tunconnector/tun';
import type * as Ends from '../../dist/chain/end/index.js';
import type * as Hops from '../../dist/chain/hop/hop.js';
import type * as Superframes from '../../dist/tunnel/connector/superframes.js';
import { dist } from '../harness/root.ts';
import type { TablesOptions } from './chain-tables.js';

const [role, bind, tables, addresses = ''] = process.argv.slice(2);
if ((role !== 'hop' && role !== 'ingress' && role !== 'egress') || !bind || !tables) {
  process.stderr.write('usage: chain-member.js hop|ingress|egress BIND TABLES [ADDRESS/LENGTH,...]\n');
  process.exit(2);
}

const { end } = (await import(dist('chain/end/index.js'))) as typeof Ends;
const { hop } = (await import(dist('chain/hop/hop.js'))) as typeof Hops;
const { superframeLimit } = (await import(dist('tunnel/connector/superframes.js'))) as typeof Superframes;

/** Of the links between members, and inside of chains of up to 8 functions. */
const MTU = 1500;
const INNER_MTU = 1412;
const PREFIX = 60;
const TENANT = 42;
const SECRET = { high: 1, low: 2 };
/** As the command sets it. */
const QUEUE_LENGTH = 2000;

const chain = udp({ bind, coalesce: 'gpe', refusals: true });
const config: NetworkConfig =
  role === 'hop'
    ? {
        apps: { chain, hop: hop({ tenant: TENANT }), vnf: pass({}) },
        links: [
          ...['chain.out -> hop.outside', 'hop.outside -> chain.in'],
          ...['hop.function -> vnf.in', 'vnf.out -> hop.function'],
        ],
      }
    : {
        apps: {
          chain,
          end: end({ role, tenant: TENANT, secret: SECRET, mtu: MTU }),
          tun: tun({ name: 'tun0' }),
        },
        links: [
          ...['chain.out -> end.outside', 'end.outside -> chain.in'],
          ...['tun.out -> end.inside', 'end.inside -> tun.in'],
        ],
      };
const network = await runInWorker(config);
if (role !== 'hop') {
  await configureInterface({
    ...{ name: 'tun0', addresses: addresses.split(','), mtu: INNER_MTU, up: true },
    ...{ addressGeneration: 'none', txQueueLength: QUEUE_LENGTH },
    gsoMaxSize: superframeLimit(INNER_MTU, PREFIX),
  });
}
await network.attach({
  module: new URL('./chain-tables.js', import.meta.url),
  export: 'applyTables',
  options: {
    app: role === 'hop' ? 'hop' : 'end',
    update: JSON.parse(readFileSync(tables, 'utf8')),
  } satisfies TablesOptions,
});
const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ready: true, program: 'chain-member', role });
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
const report = await network.report();
await network.close();
say({
  ...Object.fromEntries(report.links.map(({ link, packets }) => [link, packets])),
  ...Object.fromEntries(Object.entries(totalDrops(report)).map(([reason, n]) => [`dropped, ${reason}`, n])),
});
