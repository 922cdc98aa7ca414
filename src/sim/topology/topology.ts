/** A simulated network as it is written: hosts, routers, switches, and links between two of them. Plain data; checked here. */
import { z } from 'zod';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';
import type { ImpairSpec } from '../../impair/spec/spec.ts';
import { type IpPrefix, parsePrefix } from '../../packet/prefix.ts';
import { checkImpairment } from './check-impairment.ts';
import { checkFlows, type FlowSettings, flowsSchema } from './flow-settings.ts';
import { Groups } from './segments.ts';

const NAME = /^[A-Za-z_][\w-]{0,62}$/;
const name = z.string().regex(NAME, { error: 'expected letters, digits, "_" and "-"' });

const tunSchema = z.strictObject({
  /** `10.8.0.1/24`. */
  addresses: z.array(z.string()).default([]),
  /** Longest IP packet: bytes. */
  mtu: z.number().int().min(68).max(65_535).default(1500),
  /** What goes into it, before all other routes. */
  routes: z.array(z.string()).default([]),
});

const hostSchema = z.strictObject({
  /** Whether packets for others go on: a router. */
  forward: z.boolean().default(false),
  /** Parts per million that its clock is fast. */
  ppm: z.number().gt(-1e5).lt(1e5).default(0),
  nameservers: z.array(z.string()).default([]),
  /** Interfaces more, whose other side is a program of the host: `SimHost.tun`. */
  tuns: z
    .record(
      name.refine((text) => !/^eth\d+$/.test(text), { error: 'expected a name that is no link’s' }),
      tunSchema,
    )
    .default({}),
  /** Bytes of packet memory; what its links need at least otherwise. */
  memory: z.number().int().min(1).optional(),
});

const endSchema = z.union(
  [
    /** `client 10.0.0.1/24 2001:db8::1/64`; `sw`, a switch. */
    z.string().transform((text) => {
      const [host = '', ...addresses] = text.trim().split(/\s+/);
      return { host, addresses };
    }),
    z.strictObject({
      host: name,
      /** `10.0.0.1/24`, `2001:db8::1/64`. */
      addresses: z.array(z.string()).default([]),
    }),
  ],
  { error: 'expected "HOST ADDRESS/LENGTH", or "host" and "addresses"' },
);

const linkSchema = z.strictObject({
  /** `up` of its impairment goes from the first to the second. */
  between: z.tuple([endSchema, endSchema]),
  /** Longest IP packet: bytes. */
  mtu: z.number().int().min(68).max(65_535).default(1500),
  /** As `tunconnector impair` has it: text, or an object. Without it packets pass at once. */
  impair: z.unknown().optional(),
});

const topologySchema = z.strictObject({
  /** Of all draws. */
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(1),
  /** What a link whose `impair` does not say it may hold each way, and how many flows it tells apart. A thousand links want less. */
  limits: z
    .strictObject({
      packets: z.number().int().min(1).max(65_536).default(2048),
      flows: z.number().int().min(2).max(65_536).default(4096),
    })
    .prefault({}),
  hosts: z.record(name, hostSchema).default({}),
  /** Hosts that send on packets for others. */
  routers: z.record(name, hostSchema.omit({ forward: true })).default({}),
  /** Bridges between links: what is at the other ends of these is one Ethernet segment. */
  switches: z.record(name, z.strictObject({}).nullable()).default({}),
  links: z.record(name, linkSchema).default({}),
  /** Traffic between hosts. */
  flows: flowsSchema,
});

export type Topology = z.input<typeof topologySchema>;
export type HostSettings = z.output<typeof hostSchema>;
export type TunSettings = z.output<typeof tunSchema>;

export interface EndSettings {
  /** Of a host, or of a switch. */
  host: string;
  isSwitch: boolean;
  addresses: readonly string[];
  /** The same, read. */
  prefixes: readonly IpPrefix[];
}

export interface LinkSettings {
  name: string;
  ends: readonly [EndSettings, EndSettings];
  /** Ethernet frames where one end is a switch, otherwise IP packets. */
  layer: 'L2' | 'L3';
  /** Of an IP packet: bytes. */
  mtu: number;
  impair: ImpairSpec;
}

/** Apps of one network that bring packets in, beside the stack: its TUN or link and, on Ethernet, what asks for neighbours. */
const MOST_SOURCES = 254;

export interface LinkLimits {
  packets: number;
  flows: number;
}

export interface CheckedTopology {
  seed: number;
  limits: LinkLimits;
  hosts: ReadonlyMap<string, HostSettings>;
  switches: readonly string[];
  links: readonly LinkSettings[];
  flows: readonly FlowSettings[];
}

/** @throws ERR_CONFIG, ERR_ADDRESS */
export function checkTopology(topology: Topology): CheckedTopology {
  const checkedTopology = checkOptions(topologySchema, topology);
  const { seed, limits, links, routers, switches, flows, ...checkedHosts } = checkedTopology;
  const hosts: Record<string, HostSettings> = { ...checkedHosts.hosts };
  for (const [router, settings] of Object.entries(routers)) {
    if (Object.hasOwn(hosts, router))
      throw configError(`routers.${router}: found the name of a host, expected another one`);
    hosts[router] = { ...settings, forward: true };
  }
  for (const each of Object.keys(switches))
    if (Object.hasOwn(hosts, each))
      throw configError(`switches.${each}: found the name of a host, expected another one`);
  const taken = new Map<string, string>();
  const joined = new Groups();
  const checked = Object.entries(links).map(([link, { between, mtu, impair }]) => {
    const read = (side: 0 | 1): EndSettings => {
      const end = between[side];
      const place = `links.${link}.between.${side}`;
      if (Object.hasOwn(switches, end.host)) {
        if (end.addresses.length > 0)
          throw configError(`${place}: found the address ${end.addresses[0]} of a switch, expected none`);
        return { ...end, isSwitch: true, prefixes: [] };
      }
      if (!Object.hasOwn(hosts, end.host))
        throw configError(`${place}: found "${end.host}", expected one of the hosts and switches`);
      if (end.addresses.length === 0)
        throw configError(`${place}: found no address, expected one such as 10.0.0.1/24`);
      for (const address of end.addresses) {
        const before = taken.get(bare(address));
        if (before) throw configError(`${place}.addresses: ${address} is that of ${before}, too`);
        taken.set(bare(address), end.host);
      }
      const prefixes = end.addresses.map((text) => parsePrefix(text, { hostBits: true, length: 'host' }));
      return { ...end, isSwitch: false, prefixes };
    };
    const ends = [read(0), read(1)] as const;
    if (ends[0].host === ends[1].host)
      throw configError(`links.${link}.between: found "${ends[0].host}" at both ends, expected two hosts`);
    const switched = ends.filter(({ isSwitch }) => isSwitch).map(({ host }) => host);
    if (switched.length === 2 && !joined.join(switched[0]!, switched[1]!))
      throw configError(
        `links.${link}.between: found a loop of switches, in which frames go round for ever; expected one way between any two`,
      );
    const spec = (impair ?? {}) as ImpairSpec;
    // What is wrong with it is said before anything is made.
    checkImpairment(`links.${link}.impair`, spec);
    return { name: link, ends, layer: switched.length > 0 ? 'L2' : 'L3', mtu, impair: spec } as const;
  });
  checkSources(hosts, checked);
  const byName = new Map(Object.entries(hosts));
  return {
    ...{ seed, limits, hosts: byName, switches: Object.keys(switches) },
    ...{ links: checked, flows: checkFlows(flows, byName, checked) },
  };
}

/** @throws ERR_LIMIT for a host with more links than it can have */
function checkSources(hosts: Readonly<Record<string, HostSettings>>, links: readonly LinkSettings[]): void {
  const sources = new Map(Object.entries(hosts).map(([host, { tuns }]) => [host, Object.keys(tuns).length]));
  for (const { layer, ends } of links)
    for (const { host, isSwitch } of ends) {
      if (isSwitch) continue;
      const n = (sources.get(host) ?? 0) + (layer === 'L2' ? 2 : 1);
      sources.set(host, n);
      if (n > MOST_SOURCES)
        throw new TunconnectorError(
          'ERR_LIMIT',
          `hosts.${host}: found more links than a host can have, expected at most ${MOST_SOURCES}, ${MOST_SOURCES / 2} to switches`,
          { remedy: 'put more hosts on one segment, with a switch' },
        );
    }
}

const bare = (address: string): string => address.replace(/\/.*$/, '').toLowerCase();
