/**
 * Which flows a rule is for, as people write it: `10.0.0.0/8:tcp:80-90`, or the same and more with names.
 *
 * Everything is said from the inside of the impaired link: `up` packets leave for the remote side, `down` packets come from
 * it. So `remote` is the destination of what goes up and the source of what comes down, and one rule is for both
 * directions of a connection.
 */
import { z } from 'zod';
import { TunconnectorError } from '../errors.ts';
import { hasPorts } from '../packet/flow-key.ts';
import { type IpPrefix, parsePrefix } from '../packet/prefix.ts';
import { Protocol } from '../packet/protocol.ts';

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
  protocol?: number | 'icmp';
  port?: PortRange;
  localPort?: PortRange;
  dscp?: number;
  direction?: Direction;
  when?: (flow: FlowView) => boolean;
}

export interface PortRange {
  min: number;
  max: number;
}

const PROTOCOLS: Record<string, number | 'icmp'> = {
  // That of the address family: pings of both.
  icmp: 'icmp',
  icmp6: Protocol.Icmpv6,
  tcp: Protocol.Tcp,
  udp: Protocol.Udp,
  sctp: Protocol.Sctp,
  dccp: Protocol.Dccp,
  udplite: Protocol.UdpLite,
  gre: Protocol.Gre,
  esp: Protocol.Esp,
  ah: Protocol.Ah,
  igmp: Protocol.Igmp,
};

const DSCP = /^(?:cs([0-7])|af([1-4])([1-3])|ef|le|be|default|(\d{1,2}))$/;

/** RFC 2474, 2597, 3246 and 8622. */
function parseDscp(text: string | number): number | undefined {
  const match = DSCP.exec(String(text).toLowerCase());
  if (!match) return undefined;
  const [word, selector, group, precedence, digits] = match;
  if (selector) return 8 * Number(selector);
  if (group) return 8 * Number(group) + 2 * Number(precedence);
  if (digits) return Number(digits) < 64 ? Number(digits) : undefined;
  return word === 'ef' ? 46 : word === 'le' ? 1 : 0;
}

function parseProtocol(text: string | number): number | 'icmp' | undefined {
  if (Object.hasOwn(PROTOCOLS, text)) return PROTOCOLS[text];
  return /^\d{1,3}$/.test(String(text)) && Number(text) < 256 ? Number(text) : undefined;
}

function parsePorts(text: string | number): PortRange | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(text));
  if (!match) return undefined;
  const min = Number(match[1]);
  const max = Number(match[2] ?? match[1]);
  return min <= max && max < 65536 ? { min, max } : undefined;
}

function parseRemote(text: string): IpPrefix | undefined {
  try {
    return parsePrefix(text, { length: 'host' });
  } catch (error) {
    if (error instanceof TunconnectorError) return undefined;
    throw error;
  }
}

const TEXT = /^(?:(\*)|\[([^\]]*)\]|([^:[\]]+))(?::([^:]+)(?::([^:]+))?)?$/;

/** The parts of `addr[:proto[:min[-max]]]`, each `*` for any; an IPv6 address stands in brackets. */
function parseText(text: string): Record<string, string> | undefined {
  const match = TEXT.exec(text);
  if (!match) return undefined;
  const [, , bracketed, plain, protocol, port] = match;
  const remote = bracketed ?? plain;
  // What is in brackets is IPv6, and nothing else is: otherwise a colon might be of either.
  if (remote !== undefined && remote.includes(':') !== (bracketed !== undefined)) return undefined;
  const parts = { remote, protocol, port };
  return Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined && part !== '*'));
}

const parsed = <T>(read: (text: string) => T | undefined, expected: string) =>
  z.union([z.string(), z.number()]).transform((text, context) => {
    const value = read(String(text));
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });

const prefix = parsed(parseRemote, 'an address or a prefix such as 10.0.0.0/8');
/** A port, or two and those between. */
export const ports = parsed(parsePorts, 'a port or a range such as 80-90');

const matchObject = z
  .strictObject({
    remote: prefix.optional(),
    local: prefix.optional(),
    protocol: parsed(parseProtocol, `one of ${Object.keys(PROTOCOLS).join(', ')} or 0 to 255`).optional(),
    /** Of the remote side. */
    port: ports.optional(),
    localPort: ports.optional(),
    dscp: parsed(parseDscp, 'a DSCP such as 46, ef, cs1 or af21').optional(),
    direction: z.enum(DIRECTIONS).optional(),
    /** In the library: what else must hold. Asked once for each flow. */
    when: z.custom<(flow: FlowView) => boolean>((value) => typeof value === 'function').optional(),
  })
  .superRefine((match, context) => {
    const { protocol, remote, local } = match;
    const ported = match.port ? 'port' : match.localPort ? 'localPort' : undefined;
    if (ported && protocol !== undefined && (protocol === 'icmp' || !hasPorts(protocol)))
      context.addIssue({
        code: 'custom',
        path: [ported],
        message: 'expected none: the protocol has no ports',
      });
    if (remote && local && remote.address.family !== local.address.family)
      context.addIssue({
        code: 'custom',
        path: ['local'],
        message: 'expected the address family of "remote"',
      });
  });

/** Text, an object, or a function of a flow. */
export const matchSchema = z
  .unknown()
  .transform((value, context) => {
    if (typeof value === 'function') return { when: value };
    if (typeof value !== 'string') return value;
    const parts = parseText(value);
    if (parts !== undefined) return parts;
    context.addIssue({
      code: 'custom',
      message: 'expected addr[:protocol[:port[-port]]] with * for any and IPv6 in brackets',
    });
    return z.NEVER;
  })
  .pipe(matchObject);
