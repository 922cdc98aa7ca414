/** The chains of a tenant in lines of text: their functions in order, and under each its replicas, with states and rates. */
import type {
  ChainDocument,
  RateList,
  ReplicaDocument,
  RouletteClient,
} from '../../control/client/roulette.ts';
import { formatBitRate, formatPacketRate, grouped } from '../format.ts';
import { type Line, within } from './picture.ts';

/** What Roulette says, at one moment. */
export interface ChainsSeen {
  chains: readonly ChainDocument[];
  replicas: readonly ReplicaDocument[];
  rates: RateList;
}

export async function seeChains(client: RouletteClient): Promise<ChainsSeen> {
  const [{ chains }, { replicas }, rates] = await Promise.all([
    client.chains(),
    client.replicas(),
    client.rates(),
  ]);
  return { chains, replicas, rates };
}

/** Not 0: it is not known. */
const UNKNOWN = '-';
const FUNCTION = 14;
const STATE = 10;
const ADDRESS = 22;
/** Of a line with everything. */
const WIDTH = 99;

/** @param width of the terminal, in columns; no line is longer */
export function chainsPicture({ chains, replicas, rates }: ChainsSeen, width: number): Line[] {
  const lines: Line[] = [];
  const told = new Map(rates.replicas.map((each) => [each.replica, each]));
  for (const chain of chains) {
    if (lines.length > 0) lines.push({ text: '' });
    const { functions, symmetric, revision } = chain.revisions.at(-1)!;
    const passing = rates.chains.find(({ spi }) => spi === chain.spi);
    const [to, back] = passing
      ? [formatBitRate(Math.round(passing.bitsIn)), formatBitRate(Math.round(passing.bitsOut))]
      : [UNKNOWN, UNKNOWN];
    const what = chain.ended ? 'ended' : `revision ${revision}, ${symmetric ? 'both ways' : 'one way'}`;
    const name = `chain ${chain.spi}   ${what}   ${grouped(chain.flows)} flows   > ${to}   < ${back}`;
    lines.push({ text: within(name, width), look: 'name' }, { text: columns(HEAD, width), look: 'head' });
    for (const of of ['ingress', ...functions, 'egress']) {
      const own = replicas.filter((each) => each.function === of);
      if (own.length === 0) lines.push({ text: within(`  ${of.padEnd(FUNCTION)}nobody`, width) });
      for (const replica of own) lines.push({ text: columns(cellsOf(replica, told.get(replica.id)), width) });
    }
  }
  if (lines.length === 0) lines.push({ text: within('there are no chains', width) });
  if (rates.silent.length > 0) {
    const which =
      rates.silent.length === 1 ? `replica ${rates.silent[0]}` : `${rates.silent.length} replicas`;
    const why = `${UNKNOWN}: this Roulette does not know the rates of ${which}`;
    lines.push({ text: '' }, { text: within(why, width) });
  }
  return lines;
}

/** @param cells function, id, state, address, and figures; the address goes first where there is too little room */
function columns(cells: readonly string[], width: number): string {
  const [of, id, state, address, flows, packets, bits, drops] = cells as [string, ...string[]];
  const name = within(of, FUNCTION - 1).padEnd(FUNCTION);
  const place = width < WIDTH ? '' : address!.padEnd(ADDRESS);
  const left = `  ${name}${id!.padStart(5)}  ${state!.padEnd(STATE)}${place}`;
  const figures = `${flows!.padStart(9)}${packets!.padStart(13)}${bits!.padStart(13)}${drops!.padStart(9)}`;
  return within(left + figures, width).trimEnd();
}

const HEAD = ['function', 'id', 'state', 'address', 'flows', 'packets', 'bits', 'drops/s'];

function cellsOf(replica: ReplicaDocument, rate: RateList['replicas'][number] | undefined): string[] {
  const { function: of, id, address, port, state, suspected, flows } = replica;
  return [
    of,
    `${id}`,
    suspected ? 'suspect' : state,
    address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    // A flow does not say where it came in.
    of === 'ingress' ? '' : grouped(flows),
    rate ? formatPacketRate(Math.round(rate.packetsIn)) : UNKNOWN,
    rate ? formatBitRate(Math.round(rate.bitsIn)) : UNKNOWN,
    rate ? grouped(rate.drops) : UNKNOWN,
  ];
}
