/**
 * Which flows a rule is for, as people write it: `10.0.0.0/8:tcp:80-90`, or the same and more with names.
 *
 * Everything is said from the inside of the impaired link: `up` packets leave for the remote side, `down` packets come from
 * it. So `remote` is the destination of what goes up and the source of what comes down, and one rule is for both
 * directions of a connection.
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
} from '../engine/flow-match.ts';
import type { IpPrefix } from '../packet/prefix.ts';

export const DIRECTIONS = ['up', 'down'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** A flow as a rule's function sees it. */
export interface FlowView {
  version: 4 | 6;
  /** IANA number. */
  protocol: number;
  remote: string;
  /** 0 where the protocol has none; the identifier of an echo. */
  remotePort: number;
  local: string;
  localPort: number;
  direction: Direction;
}

/** What must hold; what is left out does not matter. */
export interface Match {
  remote?: IpPrefix;
  local?: IpPrefix;
  protocol?: ProtocolMatch;
  port?: PortRange;
  localPort?: PortRange;
  dscp?: number;
  direction?: Direction;
  when?: (flow: FlowView) => boolean;
}

const matchObject = z
  .strictObject({
    remote: networkSchema.optional(),
    local: networkSchema.optional(),
    protocol: protocolSchema.optional(),
    /** Of the remote side. */
    port: portsSchema.optional(),
    localPort: portsSchema.optional(),
    dscp: dscpSchema.optional(),
    direction: z.enum(DIRECTIONS).optional(),
    /** In the library: what else must hold. Asked once for each flow. */
    when: z.custom<(flow: FlowView) => boolean>((value) => typeof value === 'function').optional(),
  })
  .superRefine(({ protocol, remote, local, port, localPort }, context) =>
    checkEnds(
      {
        protocol,
        networks: [
          ['remote', remote],
          ['local', local],
        ],
        ports: [
          ['port', port],
          ['localPort', localPort],
        ],
      },
      context,
    ),
  );

/** Text, an object, or a function of a flow. */
export const matchSchema = z
  .unknown()
  .transform((value, context) => {
    if (typeof value === 'function') return { when: value };
    if (typeof value !== 'string') return value;
    const parts = parseFlowText(value);
    if (parts !== undefined) {
      const { network, ...rest } = parts;
      return network === undefined ? rest : { remote: network, ...rest };
    }
    context.addIssue({ code: 'custom', message: `expected ${FLOW_TEXT}` });
    return z.NEVER;
  })
  .pipe(matchObject);
