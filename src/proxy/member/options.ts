/** What every end of a chain is told: where Roulette is, whose end it is, where its chain port is. */
import { z } from 'zod';
import { timeFrom } from '../../chain/times.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import { parsePrefix } from '../../packet/prefix.ts';
import { checkInterfaceName } from '../../tun/tun.ts';

const problem = (error: unknown) => (error instanceof Error ? error.message : String(error));

const checked = (check: (text: string) => unknown) =>
  z.string().superRefine((text, context) => {
    try {
      check(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: problem(error) });
    }
  });

/** `10.0.0.0/8`; a host without a length. */
export const prefix = checked((text) => parsePrefix(text, { length: 'host' }));
/** `10.0.0.1/24`: an interface's. */
export const interfaceAddress = checked((text) => parsePrefix(text, { hostBits: true, length: 'host' }));
export const interfaceName = checked(checkInterfaceName);

export const memberSchema = {
  /** URLs of Roulettes, of which any may be away. */
  roulette: z.array(z.string()).min(1, { error: 'expected the URL of a Roulette' }),
  /** 24 bits. */
  tenant: z.int().min(0).max(0xffffff),
  token: z.string().optional(),
  /** PEM of who signed Roulette's certificate. */
  ca: z.string().optional(),
  /** `ADDRESS` or `ADDRESS:PORT` of the chain port; the address that leads to Roulette, and the encapsulation's port, when left out. */
  bind: z.string().optional(),
  encapsulation: z.enum(['vxlan-gpe', 'geneve']).default('vxlan-gpe'),
  /** MTU of the links between the chain's hosts, bytes; that of the way to Roulette when left out. */
  mtu: z.int().min(576).max(65_535).optional(),
  /** ns of the lease: for how long others take a dead end for alive. */
  term: timeFrom(500 * MILLISECOND, 'a time from 500ms on').default(5 * SECOND),
  /** ns without a packet after which a flow ends, the same as Roulette's. */
  flowIdle: timeFrom(SECOND, 'a time from 1s on').default(300 * SECOND),
  /** Flows at a time. */
  flows: z.int().min(2).max(4_000_000).default(100_000),
  /** Share of the flows beside other egresses: 1 to 1000. */
  weight: z.int().min(1).max(1000).default(1),
  thread: z.enum(['main', 'worker']).default('main'),
  gso: z.boolean().default(true),
  gro: z.boolean().default(true),
};

/** How a program runs it: no option of users'. */
export interface MemberManner {
  /** Whether V8 gets to know the packet path before the first packet, where there is a thread for that. Takes 0.3 s. */
  warmUp?: boolean;
}

const member = z.strictObject(memberSchema);
export type MemberSettings = z.output<typeof member>;
