/** What Roulette answers over HTTP. What is asked has the schemas of `src/chain/roulette/requests`. */
import { z } from 'zod';

const rev = z.number().describe('The revision that wrote it, for ifRev');
const at = z.number().describe('The revision of the registry that this is read from');

export const tenantDocument = z.object({
  tenant: z.number(),
  rev,
  description: z.string(),
  functions: z.number(),
  chains: z.number(),
  replicas: z.number(),
  rules: z.number(),
  flows: z.number(),
  leases: z.number(),
  suspects: z.number(),
});
export const tenantList = z.object({ rev: at, tenants: z.array(tenantDocument) });

export const functionDocument = z.object({
  name: z.string(),
  rev: z.number().describe('0 for ingress and egress, which every tenant has'),
  description: z.string(),
  ready: z.number().describe('Replicas that take new flows'),
  draining: z.number(),
  stale: z.number().describe('Whose lease has ended'),
});
export const functionList = z.object({ rev: at, functions: z.array(functionDocument) });

const chainRevision = z.object({
  revision: z.number(),
  functions: z.array(z.string()),
  symmetric: z.boolean(),
});
export const chainDocument = z.object({
  spi: z.number(),
  rev,
  ended: z.boolean().describe('It takes no new flows'),
  revisions: z
    .array(chainRevision)
    .describe('The last is in force, those before are kept for packets that carry them'),
  flows: z.number(),
});
export const chainList = z.object({ rev: at, chains: z.array(chainDocument) });

export const replicaDocument = z.object({
  id: z.number(),
  rev,
  function: z.string(),
  address: z.string(),
  port: z.number(),
  weight: z.number(),
  state: z.enum(['ready', 'draining']),
  lease: z.string(),
  flows: z.number(),
  suspected: z.enum(['refused', 'silent']).optional().describe('Somebody cannot reach it; it is being asked'),
  stale: z.literal(true).optional().describe('Its lease has ended: Roulette does not hear it'),
});
export const replicaList = z.object({ rev: at, replicas: z.array(replicaDocument) });

const rule = z.object({
  name: z.string(),
  match: z.unknown(),
  chain: z.number().nullable(),
});
export const classifierDocument = z.object({
  rev: z.number().describe('0: there is none'),
  rules: z.array(rule),
});

export const flowDocument = z.object({
  id: z.string(),
  rev,
  key: z.string(),
  spi: z.number(),
  revision: z.number(),
  generation: z.number(),
  path: z.array(z.number()).describe('A replica for each function of that revision'),
  egress: z.number().describe('0: none yet'),
  pinned: z.boolean(),
});
const whole = (low: number, high: number) =>
  z.coerce.number({ error: `expected a whole number from ${low} to ${high}` }).pipe(
    z
      .int({ error: `expected a whole number from ${low} to ${high}` })
      .min(low, { error: `expected at least ${low}` })
      .max(high, { error: `expected at most ${high}` }),
  );
export const flowQuery = z.strictObject({
  limit: whole(1, 1000).default(100),
  after: z
    .string()
    .regex(/^[0-9a-f]{16}$/, { error: 'expected the id of a flow' })
    .optional()
    .describe('`next` of the page before'),
  spi: whole(1, 0x7fffff).optional().describe('On this chain only'),
  replica: whole(1, 0xffff).optional().describe('Through this replica only'),
  search: z
    .string()
    .max(100, { error: 'expected at most 100 characters' })
    .optional()
    .describe('Words that are all in the key or the id of a flow'),
});
export const flowList = z.object({
  rev: at,
  total: z.number().describe('All that there are of this kind'),
  flows: z.array(flowDocument).describe('By id'),
  next: z.string().optional().describe('There are more: ask for those after this one'),
});

const passing = {
  packetsIn: z.number().describe('A second: into the function; of an end, into the chains there'),
  bitsIn: z.number().describe('bit/s of IP packets, without the headers of the chain'),
  packetsOut: z.number(),
  bitsOut: z.number(),
};
const replicaRates = z.object({
  replica: z.number(),
  age: z.number().describe('ns since the member told'),
  span: z.number().describe('ns between the two reports that the rates are made of'),
  ...passing,
  drops: z.number().describe('Packets a second that it dropped'),
});
const chainRates = z.object({
  spi: z.number(),
  ends: z.number().describe('Ingresses that these are the sum of'),
  ...passing,
});
export const rateList = z
  .object({
    replicas: z.array(replicaRates).describe('By id, those that have told'),
    silent: z
      .array(z.number())
      .describe(
        'Replicas of which this Roulette knows no rates: they ask another one, are new, or say nothing',
      ),
    chains: z.array(chainRates).describe('In is from the ingresses, out what comes back there'),
  })
  .describe('Kept in memory alone, and by the Roulette that is asked for its own members alone');

export const errorDocument = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    path: z.string().optional().describe('Where in the body'),
    found: z.string().optional(),
    expected: z.string().optional(),
    remedy: z.string().optional(),
  }),
});

export type TenantDocument = z.output<typeof tenantDocument>;
export type TenantList = z.output<typeof tenantList>;
export type FunctionDocument = z.output<typeof functionDocument>;
export type FunctionList = z.output<typeof functionList>;
export type ChainDocument = z.output<typeof chainDocument>;
export type ChainList = z.output<typeof chainList>;
export type ReplicaDocument = z.output<typeof replicaDocument>;
export type ReplicaList = z.output<typeof replicaList>;
export type ClassifierDocument = z.output<typeof classifierDocument>;
export type RateList = z.output<typeof rateList>;
export type FlowDocument = z.output<typeof flowDocument>;
export type FlowQuery = z.input<typeof flowQuery>;
export type FlowList = z.output<typeof flowList>;
