/** Options of an end of a chain. */
import { z } from 'zod';
import { SECOND } from '../../engine/units.ts';
import { tenantId } from '../roulette/model/schema.ts';
import { timeFrom } from '../times.ts';
import { MAX_FUNCTIONS } from '../wire/tlv.ts';

export const endSchema = z.strictObject({
  /** `ingress`: classifies, places and sends in. `egress`: delivers, and sends the replies back. */
  role: z.enum(['ingress', 'egress']),
  tenant: tenantId,
  /** Of the tenant's flow ids: upper and lower 32 bits. */
  secret: z.strictObject({ high: z.int(), low: z.int() }),
  encapsulation: z.enum(['vxlan-gpe', 'geneve']).default('vxlan-gpe'),
  /** Of the links between the chain's members: bytes of an IP packet. */
  mtu: z.int().min(576).max(65_535).default(1500),
  /** Where its ICMP errors come from, IPv4 and IPv6; without, they come from where the packet was going. */
  addresses: z.array(z.string()).default([]),
  /** Most flows of the tenant here. One more, and the one silent longest ends. */
  flows: z.int().min(2).max(4_000_000).default(100_000),
  /** Silence after which a flow ends. */
  flowIdle: timeFrom(SECOND, 'a time from 1s on').default(300 * SECOND),
  /** New flows of the tenant per second, and how many at once. */
  newFlows: z.int().min(1).default(20_000),
  newFlowsBurst: z.int().min(1).default(20_000),
  /** The most functions of a chain: fewer need less memory per flow. */
  functions: z.int().min(1).max(MAX_FUNCTIONS).default(MAX_FUNCTIONS),
  /** Whether the first stops of flows are probed. */
  probes: z.boolean().default(true),
  /** Fragments that may wait for the first of their datagram. */
  heldFragments: z.int().min(0).max(4096).default(64),
});

export type EndOptions = z.input<typeof endSchema>;
export type CheckedEnd = z.output<typeof endSchema>;
