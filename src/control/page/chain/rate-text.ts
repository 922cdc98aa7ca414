/** Rates as people read them; what is not known is a dash, and no 0. */
import type { RateList } from '../../client/roulette.ts';
import { bitRate, counted } from '../shared/format.ts';

export type ReplicaRate = RateList['replicas'][number];

export const UNKNOWN = '–';

export const rateText = (bits: number | undefined): string => (bits === undefined ? UNKNOWN : bitRate(bits));

/** A second; less than one in ten seconds is none. */
export const perSecond = (count: number | undefined): string =>
  count === undefined ? UNKNOWN : count > 0 && count < 10 ? count.toFixed(1) : counted(count);

/** Which replicas have no rates here, and why that may be; empty when all have. */
export function unknownText(rates: RateList | undefined, shown: ReadonlySet<number>): string {
  const silent = rates?.silent.filter((id) => shown.has(id)) ?? [];
  if (silent.length === 0) return '';
  const which = silent.length === 1 ? `replica ${silent[0]}` : `${silent.length} replicas`;
  return `This Roulette does not know the rates of ${which} (${UNKNOWN}): new, silent, or registered through another Roulette.`;
}
