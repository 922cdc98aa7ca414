/**
 * The classic `nuse.conf`: interfaces and routes, a keyword and its value per line.
 *
 *     interface eth0
 *       address 192.168.209.39
 *       netmask 255.255.255.0
 *       macaddr 00:01:01:01:01:02
 *       viftype RAW
 *     route
 *       network 0.0.0.0
 *       netmask 0.0.0.0
 *       gateway 192.168.209.1
 */
import { configError } from '../../engine/config.ts';
import { parseIpv4 } from '../../packet/address.ts';
import { parseMac } from '../../packet/prefix.ts';
import type { StackPlan } from './plan.ts';

type Keywords = Record<string, string>;

const INTERFACE = ['address', 'netmask', 'macaddr', 'viftype'];
const ROUTE = ['network', 'netmask', 'gateway'];
/** What each kind of virtual interface is here: RAW a packet socket of an interface that exists, the others are made. */
const KINDS: Record<string, 'interface' | 'tap' | 'tun'> = { RAW: 'interface', TAP: 'tap', TUN: 'tun' };

interface Section {
  kind: 'interface' | 'route';
  name: string;
  line: number;
  words: Keywords;
}

/** @param file for messages @throws ERR_CONFIG with file and line */
export function parseNuse(text: string, file: string): StackPlan {
  const sections = sectionsOf(text, file);
  const plan: StackPlan = { interfaces: [], routes: [] };
  for (const section of sections) {
    const place = `${file}:${section.line}`;
    if (section.kind === 'route') {
      plan.routes.push(routeOf(section.words, place));
      continue;
    }
    if (plan.interfaces.some(({ name }) => name === section.name))
      throw configError(`${place}: found the interface "${section.name}" twice`);
    plan.interfaces.push(interfaceOf(section, place));
  }
  if (plan.interfaces.length === 0) throw configError(`${file}: found no interface`);
  return plan;
}

function sectionsOf(text: string, file: string): Section[] {
  const sections: Section[] = [];
  for (const [at, raw] of text.split('\n').entries()) {
    const words = raw.replace(/#.*/, '').trim().split(/\s+/);
    const [keyword = '', value] = words;
    const place = `${file}:${at + 1}`;
    if (keyword === '') continue;
    if (words.length > 2)
      throw configError(`${place}: found "${raw.trim()}", expected a keyword and its value`);
    const section = sections.at(-1);
    if (keyword === 'interface') {
      if (value === undefined) throw configError(`${place}: found no name, expected interface NAME`);
      sections.push({ kind: 'interface', name: value, line: at + 1, words: {} });
    } else if (keyword === 'route') {
      sections.push({ kind: 'route', name: '', line: at + 1, words: {} });
    } else {
      const known = section?.kind === 'route' ? ROUTE : INTERFACE;
      if (!section) throw configError(`${place}: found "${keyword}", expected interface or route`);
      if (!known.includes(keyword))
        throw configError(`${place}: found "${keyword}", expected one of ${known.join(', ')}`);
      if (value === undefined) throw configError(`${place}: ${keyword} has no value`);
      if (keyword in section.words) throw configError(`${place}: found ${keyword} twice`);
      section.words[keyword] = value;
    }
  }
  return sections;
}

function interfaceOf({ name, words }: Section, place: string): StackPlan['interfaces'][number] {
  const { address, netmask, macaddr, viftype = 'RAW' } = words;
  const kind = KINDS[viftype];
  if (!kind)
    throw configError(
      `${place}: found the viftype ${viftype}, expected one of ${Object.keys(KINDS).join(', ')}`,
    );
  if (macaddr !== undefined) {
    if (kind === 'tun') throw configError(`${place}: found a macaddr, which a TUN does not have`);
    parseMac(macaddr);
  }
  if (address === undefined) throw configError(`${place}: interface ${name} has no address`);
  parseIpv4(address);
  const length = netmask === undefined ? 32 : lengthOf(netmask, place);
  return { kind, name, addresses: [`${address}/${length}`], ...(macaddr !== undefined && { mac: macaddr }) };
}

function routeOf(words: Keywords, place: string): StackPlan['routes'][number] {
  const { network, netmask, gateway } = words;
  if (network === undefined || netmask === undefined || gateway === undefined)
    throw configError(`${place}: a route has a network, a netmask and a gateway`);
  parseIpv4(network);
  parseIpv4(gateway);
  return { to: `${network}/${lengthOf(netmask, place)}`, via: gateway };
}

/** Bits of a mask in dots. */
function lengthOf(mask: string, place: string): number {
  const [a, b, c, d] = parseIpv4(mask).bytes;
  const host = ~((a! << 24) | (b! << 16) | (c! << 8) | d!) >>> 0;
  if ((host & (host + 1)) !== 0) throw configError(`${place}: found the netmask ${mask}, which has a gap`);
  return Math.clz32(host);
}
