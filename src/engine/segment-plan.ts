/** How packets of a pool are cut into wire packets. */
import { planSegments } from '../packet/segment.ts';
import type { Pool } from './pool.ts';

/** `planSegments` of a packet: fills `plan`, and says how many wire packets it stands for. */
export const planOf = (
  { slab, offset, length, l3Offset, gsoType, segmentSize }: Pool,
  packet: number,
  plan: Int32Array,
): number =>
  planSegments(
    slab,
    offset[packet],
    length[packet],
    l3Offset[packet],
    gsoType[packet],
    segmentSize[packet],
    plan,
  );
