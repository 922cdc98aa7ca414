/** What comes from outside, checked. Inside, everything is as these say. */
import { z } from 'zod';
import { MILLISECOND, SECOND } from '../../../engine/units.ts';
import { isIp } from '../../../packet/address.ts';
import { timeFrom } from '../../times.ts';
import { FLOWS_PER_REQUEST, FUNCTIONS_PER_CHAIN, MATCH_BYTES } from './limits.ts';

const whole = (low: number, high: number) => {
  const error = `expected a whole number from ${low} to ${high}`;
  return z.int({ error }).min(low, { error }).max(high, { error });
};

const text = (most: number) => {
  const error = `expected text of at most ${most} characters`;
  return z.string({ error }).max(most, { error });
};

const matching = (pattern: RegExp, expected: string) =>
  z.string({ error: `expected ${expected}` }).regex(pattern, { error: `expected ${expected}` });

export const tenantId = whole(0, 0xffffff);
/** 23 bits: the highest of the 24 says that packets are on the way back. */
export const spi = whole(1, 0x7fffff);
export const replicaId = whole(1, 0xffff);
/** 0: there is no such thing yet. */
export const ifRev = whole(0, Number.MAX_SAFE_INTEGER);
export const functionName = matching(
  /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
  'a name of at most 63 small letters, digits and dashes',
);
export const flowId = matching(/^[0-9a-f]{16}$/, '16 hexadecimal digits');
export const flowKey = matching(/^[\x20-\x7e]{1,160}$/, 'a key of 1 to 160 printable characters');
export const leaseId = matching(/^[0-9]{1,20}$/, 'the number of a lease');
export const description = text(256);

const ADDRESS = 'expected an IPv4 or IPv6 address';
const address = z.string({ error: ADDRESS }).refine(isIp, { error: ADDRESS });

const SHORTEST_TERM = 500 * MILLISECOND;
const LONGEST_TERM = 3600 * SECOND;
/** ns of `2s`, or of a number of ns. */
export const term = timeFrom(SHORTEST_TERM, 'a time from 500ms to 1h', LONGEST_TERM);

export const chainFunctions = z
  .array(functionName, { error: 'expected a list of functions' })
  .min(1, { error: 'expected at least one function' })
  .max(FUNCTIONS_PER_CHAIN, { error: `expected at most ${FUNCTIONS_PER_CHAIN} functions` });

export const replicaFields = {
  function: functionName,
  address,
  port: whole(1, 0xffff),
  weight: whole(1, 1000).default(1),
  state: z.enum(['ready', 'draining'], { error: 'expected ready or draining' }).default('ready'),
  lease: leaseId,
};

const path = z.array(replicaId).max(FUNCTIONS_PER_CHAIN);

export const proposal = z.strictObject({
  id: flowId,
  key: flowKey,
  spi,
  /** The one the packet was stamped with; the one in force when left out. */
  revision: whole(1, 0xffffffff).optional(),
  /** Of the path below. Newer than what Roulette holds: a member has moved the flow, whose replica it could not reach. */
  generation: whole(0, 0xffff).optional(),
  /** Where the ingress has sent it; what Roulette holds wins, unless it is older. */
  path: path.optional(),
  egress: replicaId.optional(),
});

const perRequest = { error: `expected 1 to ${FLOWS_PER_REQUEST} flows` };
export const proposals = z.array(proposal).min(1, perRequest).max(FLOWS_PER_REQUEST, perRequest);
export const flowIds = z.array(flowId).min(1, perRequest).max(FLOWS_PER_REQUEST, perRequest);

/** The match of a rule when nobody brings a stricter schema: any object of a bounded size. */
export const anyMatch = z
  .record(z.string(), z.json(), { error: 'expected an object' })
  .refine((match) => JSON.stringify(match).length <= MATCH_BYTES, {
    error: `expected at most ${MATCH_BYTES} bytes of JSON`,
  });
