/** A simulated network as it is written: hosts, routers, and links between two of them. Plain data; checked here. */
import { z } from 'zod';
import { configError } from '../engine/config.ts';
import { checkOptions } from '../engine/options.ts';
import type { ImpairSpec } from '../impair/spec/spec.ts';
import { type IpPrefix, parsePrefix } from '../packet/prefix.ts';
import { checkImpairment } from './check-impairment.ts';
import { checkFlows, type FlowSettings, flowsSchema } from './flows/settings.ts';

const NAME = /^[A-Za-z_][\w-]{0,62}$/;
const name = z.string().regex(NAME, { error: 'expected letters, digits, "_" and "-"' });

const hostSchema = z.strictObject({
  /** Whether packets for others go on: a router. */
  forward: z.boolean().default(false),
  /** Parts per million that its clock is fast. */
  ppm: z.number().gt(-1e5).lt(1e5).default(0),
  nameservers: z.array(z.string()).default([]),
  /** Bytes of packet memory; what its links need at least otherwise. */
  memory: z.number().int().min(1).optional(),
});

const endSchema = z.union(
  [
    /** `client 10.0.0.1/24 2001:db8::1/64` */
    z.string().transform((text) => {
      const [host = '', ...addresses] = text.trim().split(/\s+/);
      return { host, addresses };
    }),
    z.strictObject({
      host: name,
      /** `10.0.0.1/24`, `2001:db8::1/64`. */
      addresses: z.array(z.string()),
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
  links: z.record(name, linkSchema).default({}),
  /** Traffic between hosts. */
  flows: flowsSchema,
});

export type Topology = z.input<typeof topologySchema>;
export type HostSettings = z.output<typeof hostSchema>;

export interface EndSettings {
  host: string;
  addresses: readonly string[];
  /** The same, read. */
  prefixes: readonly IpPrefix[];
}

export interface LinkSettings {
  name: string;
  ends: readonly [EndSettings, EndSettings];
  mtu: number;
  impair: ImpairSpec;
}

export interface LinkLimits {
  packets: number;
  flows: number;
}

export interface CheckedTopology {
  seed: number;
  limits: LinkLimits;
  hosts: ReadonlyMap<string, HostSettings>;
  links: readonly LinkSettings[];
  flows: readonly FlowSettings[];
}

/** @throws ERR_CONFIG, ERR_ADDRESS */
export function checkTopology(topology: Topology): CheckedTopology {
  const { seed, limits, links, routers, flows, ...checkedHosts } = checkOptions(topologySchema, topology);
  const hosts: Record<string, HostSettings> = { ...checkedHosts.hosts };
  for (const [router, settings] of Object.entries(routers)) {
    if (Object.hasOwn(hosts, router))
      throw configError(`routers.${router}: found the name of a host, expected another one`);
    hosts[router] = { ...settings, forward: true };
  }
  const taken = new Map<string, string>();
  const checked = Object.entries(links).map(([link, { between, mtu, impair }]) => {
    const read = (side: 0 | 1): EndSettings => {
      const end = between[side];
      const place = `links.${link}.between.${side}`;
      if (!Object.hasOwn(hosts, end.host))
        throw configError(`${place}: found "${end.host}", expected one of the hosts`);
      if (end.addresses.length === 0)
        throw configError(`${place}: found no address, expected one such as 10.0.0.1/24`);
      for (const address of end.addresses) {
        const before = taken.get(bare(address));
        if (before) throw configError(`${place}.addresses: ${address} is that of ${before}, too`);
        taken.set(bare(address), end.host);
      }
      const prefixes = end.addresses.map((text) => parsePrefix(text, { hostBits: true, length: 'host' }));
      return { ...end, prefixes };
    };
    const ends = [read(0), read(1)] as const;
    if (ends[0].host === ends[1].host)
      throw configError(`links.${link}.between: found "${ends[0].host}" at both ends, expected two hosts`);
    const spec = (impair ?? {}) as ImpairSpec;
    // What is wrong with it is said before anything is made.
    checkImpairment(`links.${link}.impair`, spec);
    return { name: link, ends, mtu, impair: spec };
  });
  const byName = new Map(Object.entries(hosts));
  return { seed, limits, hosts: byName, links: checked, flows: checkFlows(flows, byName, checked) };
}

const bare = (address: string): string => address.replace(/\/.*$/, '').toLowerCase();
