/** Of what a packet half counts, that which its member tells Roulette. */
import { type NetworkReport, totalDrops } from '../../engine/report.ts';
import { CHAINS_TOLD, type ReplicaFigures } from '../roulette/figures.ts';

export type PacketFigures = Omit<ReplicaFigures, 'replica'>;

/** The side where packets have no headers of the chain: of the app `hop` its function, of the app `end` what is inside. */
const BARE = ['function', 'inside'];
const OF_CHAIN = /^chain\.(\d+)\.packetsIn$/;

/** @param name of the app `hop` or `end` */
export function figuresOf(report: NetworkReport, name: string): PacketFigures {
  const into = BARE.map((port) => ` -> ${name}.${port}`);
  const from = BARE.map((port) => `${name}.${port} -> `);
  const sum = (key: 'packets' | 'bits', is: (link: string) => boolean) =>
    report.links.reduce((total, link) => (is(link.link) ? total + link[key] : total), 0);
  const isIn = (link: string) => into.some((end) => link.endsWith(end));
  const isOut = (link: string) => from.some((start) => link.startsWith(start));
  const app = report.apps.find((each) => each.app === name);
  // A function gets what the hop hands out; an end puts into chains what it gets.
  const isEnd = report.links.some(({ link }) => link.startsWith(`${name}.inside -> `));
  const [taken, given] = isEnd ? [isIn, isOut] : [isOut, isIn];
  const chains = app ? chainsOf(app.report) : [];
  return {
    time: report.time,
    packetsIn: sum('packets', taken),
    bytesIn: Math.floor(sum('bits', taken) / 8),
    packetsOut: sum('packets', given),
    bytesOut: Math.floor(sum('bits', given) / 8),
    drops: Object.values(totalDrops(report)).reduce((total, n) => total + n, 0),
    ...(chains.length > 0 && { chains }),
  };
}

function chainsOf(report: Readonly<Record<string, unknown>>): NonNullable<PacketFigures['chains']> {
  const count = (key: string) => Number(report[key] ?? 0);
  const spis = Object.keys(report).flatMap((key) => OF_CHAIN.exec(key)?.[1] ?? []);
  return spis
    .filter((spi) => spi !== '0')
    .slice(0, CHAINS_TOLD)
    .map((spi) => ({
      spi: Number(spi),
      packetsIn: count(`chain.${spi}.packetsIn`),
      bytesIn: count(`chain.${spi}.bytesIn`),
      packetsOut: count(`chain.${spi}.packetsOut`),
      bytesOut: count(`chain.${spi}.bytesOut`),
    }));
}
