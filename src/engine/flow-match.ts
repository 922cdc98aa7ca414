/** Which flows somebody means, as people write it: the parts that all such descriptions share. */
import { z } from 'zod';
import { TunconnectorError } from '../errors.ts';
import { hasPorts } from '../packet/flow-key.ts';
import { type IpPrefix, parsePrefix } from '../packet/prefix.ts';
import { Protocol } from '../packet/protocol.ts';

/** An IANA number, or the ICMP of the address family: pings of both. */
export type ProtocolMatch = number | 'icmp';

export interface PortRange {
  min: number;
  max: number;
}

const PROTOCOLS: Record<string, ProtocolMatch> = {
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
function parseDscp(text: string): number | undefined {
  const match = DSCP.exec(text.toLowerCase());
  if (!match) return undefined;
  const [word, selector, group, precedence, digits] = match;
  if (selector) return 8 * Number(selector);
  if (group) return 8 * Number(group) + 2 * Number(precedence);
  if (digits) return Number(digits) < 64 ? Number(digits) : undefined;
  return word === 'ef' ? 46 : word === 'le' ? 1 : 0;
}

function parseProtocol(text: string): ProtocolMatch | undefined {
  if (Object.hasOwn(PROTOCOLS, text)) return PROTOCOLS[text];
  return /^\d{1,3}$/.test(text) && Number(text) < 256 ? Number(text) : undefined;
}

function parsePorts(text: string): PortRange | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (!match) return undefined;
  const min = Number(match[1]);
  const max = Number(match[2] ?? match[1]);
  return min <= max && max < 65536 ? { min, max } : undefined;
}

function parseNetwork(text: string): IpPrefix | undefined {
  try {
    return parsePrefix(text, { length: 'host' });
  } catch (error) {
    if (error instanceof TunconnectorError) return undefined;
    throw error;
  }
}

/** What `parseFlowText` reads. */
export const FLOW_TEXT = 'addr[:protocol[:port[-port]]] with * for any and IPv6 in brackets';

const TEXT = /^(?:(\*)|\[([^\]]*)\]|([^:[\]]+))(?::([^:]+)(?::([^:]+))?)?$/;

/** The parts of `addr[:proto[:min[-max]]]` that are given, as text. */
export interface FlowText {
  network?: string;
  protocol?: string;
  port?: string;
}

/** Each part may be `*` for any; an IPv6 address stands in brackets. Undefined for what is no such text. */
export function parseFlowText(text: string): FlowText | undefined {
  const match = TEXT.exec(text);
  if (!match) return undefined;
  const [, , bracketed, plain, protocol, port] = match;
  const network = bracketed ?? plain;
  // What is in brackets is IPv6, and nothing else is: otherwise a colon might be of either.
  if (network !== undefined && network.includes(':') !== (bracketed !== undefined)) return undefined;
  const parts = { network, protocol, port };
  return Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined && part !== '*'));
}

const parsed = <T>(read: (text: string) => T | undefined, expected: string) =>
  z.union([z.string(), z.number()]).transform((text, context) => {
    const value = read(String(text));
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });

export const networkSchema = parsed(parseNetwork, 'an address or a prefix such as 10.0.0.0/8');
export const portsSchema = parsed(parsePorts, 'a port or a range such as 80-90');
export const protocolSchema = parsed(
  parseProtocol,
  `one of ${Object.keys(PROTOCOLS).join(', ')} or 0 to 255`,
);
export const dscpSchema = parsed(parseDscp, 'a DSCP such as 46, ef, cs1 or af21');

interface TwoEnds {
  protocol?: ProtocolMatch;
  networks: [string, IpPrefix | undefined][];
  ports: [string, PortRange | undefined][];
}

/** Finds what two ends and a protocol cannot be together: ports of a protocol without, or two address families. */
export function checkEnds({ protocol, networks, ports }: TwoEnds, context: z.RefinementCtx): void {
  const ported = ports.find(([, range]) => range !== undefined);
  if (ported && protocol !== undefined && (protocol === 'icmp' || !hasPorts(protocol)))
    context.addIssue({
      code: 'custom',
      path: [ported[0]],
      message: 'expected none: the protocol has no ports',
    });
  const [[first, a], [second, b]] = networks;
  if (a && b && a.address.family !== b.address.family)
    context.addIssue({
      code: 'custom',
      path: [second],
      message: `expected the address family of "${first}"`,
    });
}
