/**
 * Which flows a chain is for, as people write it: `10.0.0.0/8:tcp:80-90` for where a flow goes, `10.1.0.0/16 -> *:udp:53` for
 * both ends, or the same and more with names. A flow goes the way of the packet that opens it; the replies are part of it.
 */
import { z } from 'zod';
import {
  checkEnds,
  dscpSchema,
  FLOW_TEXT,
  networkSchema,
  type PortRange,
  type ProtocolMatch,
  parseFlowText,
  portsSchema,
  protocolSchema,
} from '../../engine/flow-match.ts';
import type { IpPrefix } from '../../packet/prefix.ts';

/** What must hold; what is left out does not matter. */
export interface FlowMatch {
  /** Virtual network, 24 bits. */
  tenant?: number;
  from?: IpPrefix;
  to?: IpPrefix;
  protocol?: ProtocolMatch;
  fromPort?: PortRange;
  /** That it goes to. */
  port?: PortRange;
  /** Of the packet that opens the flow. */
  dscp?: number;
  /** VLAN identifier, 0 to 4095. */
  vlan?: number;
}

export interface ClassifierRule {
  match: FlowMatch;
  /** The chain's service path, 1 to 0x7fffff; null for none: the flow passes as it is. */
  chain: number | null;
}

/** Rules of one classifier. */
export const MAX_RULES = 2048;

const integer = (max: number, expected: string) =>
  z
    .number({ error: `expected ${expected}` })
    .int({ error: `expected ${expected}` })
    .min(0, { error: `expected ${expected}` })
    .max(max, { error: `expected ${expected}` });

const matchObject = z
  .strictObject({
    tenant: integer(0xffffff, 'a virtual network from 0 to 16777215').optional(),
    from: networkSchema.optional(),
    to: networkSchema.optional(),
    protocol: protocolSchema.optional(),
    fromPort: portsSchema.optional(),
    port: portsSchema.optional(),
    dscp: dscpSchema.optional(),
    vlan: integer(4095, 'a VLAN from 0 to 4095').optional(),
  })
  .superRefine(({ protocol, from, to, fromPort, port }, context) =>
    checkEnds(
      {
        protocol,
        networks: [
          ['from', from],
          ['to', to],
        ],
        ports: [
          ['port', port],
          ['fromPort', fromPort],
        ],
      },
      context,
    ),
  );

/** `[from -> ]addr[:protocol[:port[-port]]]` as the object that it stands for. */
function parseText(text: string): object | undefined {
  const arrow = text.split(/\s+->\s+/);
  if (arrow.length > 2) return undefined;
  const to = parseFlowText(arrow.at(-1)!);
  const from = arrow.length === 2 ? parseFlowText(arrow[0]) : {};
  if (to === undefined || from === undefined || from.protocol !== undefined || from.port !== undefined)
    return undefined;
  const { network, ...rest } = to;
  return {
    ...(from.network !== undefined && { from: from.network }),
    ...(network !== undefined && { to: network }),
    ...rest,
  };
}

/** Text or an object. */
export const flowMatchSchema = z
  .unknown()
  .transform((value, context) => {
    if (typeof value !== 'string') return value;
    const parts = parseText(value);
    if (parts !== undefined) return parts;
    context.addIssue({ code: 'custom', message: `expected [from -> ]${FLOW_TEXT}` });
    return z.NEVER;
  })
  .pipe(matchObject);

/** The same check for those who keep rules as they were written: what comes out is what came in. */
export const writtenMatchSchema = z.unknown().check((written) => {
  const result = flowMatchSchema.safeParse(written.value);
  if (!result.success)
    for (const issue of result.error.issues) written.issues.push({ ...issue, input: written.value } as never);
});

/** Rules in the order in which they are tried. */
export const classifierSchema = z
  .array(
    z.strictObject({
      match: flowMatchSchema,
      chain: integer(0x7fffff, 'a service path from 1 to 8388607, or null')
        .min(1, { error: 'expected a service path from 1 to 8388607, or null' })
        .nullable(),
    }),
  )
  .max(MAX_RULES, { error: `expected up to ${MAX_RULES} rules` });
