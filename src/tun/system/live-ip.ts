/**
 * Interfaces, addresses and routes through iproute2: every set of changes is one `ip -batch` process fed over
 * stdin, every reading one `ip -json`. Nothing passes a shell, and no value can smuggle in a second command.
 */

import { isIP } from 'node:net';
import { TunconnectorError } from '../../errors.ts';
import { NEEDS_ADMIN } from '../system-error.ts';
import { type CommandResult, runCommand } from './live-command.ts';

export interface RouteSpec {
  /** `'unreachable'` answers with an error instead of sending. Default: unicast. */
  type?: 'unicast' | 'unreachable';
  /** `'10.0.0.0/8'`, `'fd00::/8'`, `'0.0.0.0/0'`. */
  prefix: string;
  /** Next hop, of either family. */
  via?: string;
  /** Interface. `configureInterface` fills its own in. */
  device?: string;
  metric?: number;
  /** Number of a routing table. Default: main (254). */
  table?: number;
  /** Preferred source address. */
  source?: string;
  /** Who made the route, 0 to 255 (rtnetlink(7), rtm_protocol). Default: boot (3), what `ip` sets itself. */
  protocol?: number;
}

export interface InterfaceConfiguration {
  name: string;
  /** Path of the network namespace it is in. Default: this process's. */
  netns?: string;
  /** With prefix length: `'10.0.0.2/24'`, `'fd00::2/64'`. */
  addresses?: readonly string[];
  /** Bytes. */
  mtu?: number;
  up?: boolean;
  /** Packets. */
  txQueueLength?: number;
  /**
   * Bytes, headers included, and wire packets of the largest superframe that the kernel may make for this interface.
   * Set before it goes up, for a TCP connection takes the limits over when it begins. Up to 65536 the size holds for
   * IPv4 as well, which has a limit of its own since Linux 6.3 that older iproute2 cannot name.
   */
  gsoMaxSize?: number;
  gsoMaxSegments?: number;
  /**
   * `'none'` keeps Linux from giving the interface a link-local IPv6 address of its own, and so from sending
   * router solicitations and multicast reports into a tunnel that nobody asked for. Default: as it is.
   */
  addressGeneration?: 'none' | 'eui64';
  routes?: readonly RouteSpec[];
}

export interface InterfaceState {
  name: string;
  index: number;
  mtu: number;
  up: boolean;
  txQueueLength: number;
  /** Limits of the superframes made for it; undefined where iproute2 does not tell (before 5.12). */
  gsoMaxSize: number | undefined;
  gsoMaxSegments: number | undefined;
  /** Ethernet address; undefined on a TUN. */
  mac: string | undefined;
  /** With prefix length. */
  addresses: string[];
}

export interface Route {
  /** Always with prefix length; the default route is `0.0.0.0/0` or `::/0`. */
  prefix: string;
  via: string | undefined;
  device: string | undefined;
  metric: number;
  source: string | undefined;
  /** `'unicast'`, `'local'`, `'unreachable'`, ... */
  type: string;
  /** Who made it: `'kernel'`, `'boot'`, `'static'`, `'ra'`, or a number. */
  protocol: string;
  table: string;
  /** Its link is down or has no carrier. */
  dead: boolean;
}

/** What the kernel would do with a packet to some address. */
export interface Path {
  device: string;
  /** Next hop; undefined when the address is on the link. */
  via: string | undefined;
  source: string | undefined;
  /** The address belongs to this host. */
  local: boolean;
  /** The routing table that decided: `'main'`, or what a policy rule chose. */
  table: string;
}

/**
 * Sets an interface up in one go: link settings, then addresses, then up, then routes. IPv6 addresses are
 * usable at once (no duplicate address detection). Stops at the first setting that fails; those before it
 * stay. The limits of superframes are no condition: where kernel, driver or iproute2 refuse one, the interface
 * works without it. Returns what was refused, a line for people each. Throws ERR_INTERFACE naming the setting,
 * ERR_ADDRESS, ERR_PERMISSION, ERR_COMMAND.
 */
export async function configureInterface(configuration: InterfaceConfiguration): Promise<string[]> {
  const { addresses = [], routes = [], mtu, up, txQueueLength, addressGeneration } = configuration;
  const { gsoMaxSize, gsoMaxSegments } = configuration;
  const name = interfaceName(configuration.name);
  if (mtu !== undefined && mtu < 1280 && addresses.some((address) => address.includes(':'))) {
    throw new TunconnectorError('ERR_INTERFACE', `${name}: IPv6 needs an MTU of at least 1280, not ${mtu}`, {
      remedy: 'raise the MTU or leave the IPv6 addresses out',
    });
  }
  const limits: string[] = [];
  if (gsoMaxSize !== undefined) limits.push(`gso_max_size ${integer('gso_max_size', gsoMaxSize)}`);
  if (gsoMaxSegments !== undefined) limits.push(`gso_max_segs ${integer('gso_max_segs', gsoMaxSegments)}`);
  const link: string[] = [];
  if (mtu !== undefined) link.push(`mtu ${integer('MTU', mtu)}`);
  if (txQueueLength !== undefined) link.push(`txqueuelen ${integer('txqueuelen', txQueueLength)}`);
  if (addressGeneration) link.push(`addrgenmode ${addressGeneration}`);
  const lines = [
    ...(link.length > 0 ? [`link set dev ${name} ${link.join(' ')}`] : []),
    ...addresses.map(
      (address) => `addr add ${prefix(address)} dev ${name}${address.includes(':') ? ' nodad' : ''}`,
    ),
    ...(up === undefined ? [] : [`link set dev ${name} ${up ? 'up' : 'down'}`]),
    ...routes.map((route) => `route add ${routeArguments({ device: name, ...route })}`),
  ];
  const refused = await Promise.all(limits.map((limit) => tryLimit(name, limit, configuration)));
  if (lines.length > 0) await ipBatch(lines, configuration);
  return refused.flat();
}

/** Each by itself: an iproute2 that does not know a word ends there, and takes a whole batch with it. */
async function tryLimit(name: string, limit: string, options: { netns?: string }): Promise<string[]> {
  const result = await runCommand(['ip', 'link', 'set', 'dev', name, ...limit.split(' ')], options);
  return result.code === 0 ? [] : [`${name}: ${limit} was refused (${reasonOf(result)})`];
}

/** The state of one interface. Throws ERR_INTERFACE when there is none of that name. */
export async function readInterface(name: string, options: { netns?: string } = {}): Promise<InterfaceState> {
  const result = await ip(['-d', '-j', 'addr', 'show', 'dev', interfaceName(name)], options);
  const [link] = JSON.parse(result.stdout) as [LinkJson];
  return {
    name: link.ifname,
    index: link.ifindex,
    mtu: link.mtu,
    up: link.flags.includes('UP'),
    txQueueLength: link.txqlen ?? 0,
    gsoMaxSize: link.gso_max_size,
    gsoMaxSegments: link.gso_max_segs,
    mac: link.link_type === 'ether' ? link.address : undefined,
    addresses: link.addr_info.map((entry) => `${entry.local}/${entry.prefixlen}`),
  };
}

/**
 * The routes of one table (default: main): of both families, of one, or only those that cover the address
 * `match`.
 */
export async function readRoutes(
  options: { netns?: string; table?: number | string; family?: 4 | 6; match?: string } = {},
): Promise<Route[]> {
  const table = word('table', String(options.table ?? 'main'));
  const match = options.match === undefined ? [] : ['match', plainAddress(options.match)];
  const family = options.family ?? (match[1] ? (isIP(match[1]) as 4 | 6) : undefined);
  const families = family ? [family] : ([4, 6] as const);
  const lists = await Promise.all(
    families.map(async (family) => {
      const argv = [`-${family}`, '-d', '-j', 'route', 'show', 'table', table, ...match];
      const result = await runCommand(['ip', ...argv], { netns: options.netns });
      // A table in which nothing was ever stored does not exist.
      if (result.code !== 0 && /FIB table does not exist/.test(result.stderr)) return [];
      checkIp(result, argv.join(' '));
      return (JSON.parse(result.stdout.trim() || '[]') as RouteJson[]).map((entry) =>
        toRoute(entry, family, table),
      );
    }),
  );
  return lists.flat();
}

/**
 * The way a packet to `address` would take, or null when it has none. `address` may have a zone:
 * `fe80::1%eth0`.
 */
export async function routeTo(address: string, options: { netns?: string } = {}): Promise<Path | null> {
  const [bare, zone] = address.split('%') as [string, string?];
  const argv = ['-j', 'route', 'get', plainAddress(bare), ...(zone ? ['oif', interfaceName(zone)] : [])];
  const result = await runCommand(['ip', ...argv], { netns: options.netns });
  if (/unreachable|No route to host|Permission denied|Invalid argument/.test(result.stderr)) return null;
  checkIp(result, argv.join(' '));
  const [entry] = JSON.parse(result.stdout) as RouteJson[];
  if (!entry?.dev || !['local', 'unicast', undefined].includes(entry.type)) return null;
  return {
    device: entry.dev,
    via: entry.gateway ?? entry.via?.host,
    source: entry.prefsrc,
    local: entry.type === 'local',
    table: entry.table ?? 'main',
  };
}

/**
 * Runs lines of ip(8), without the leading `ip`, in one process. The lines must be made from checked values.
 * Throws for the first line that fails and names it; with `force` it goes on after failures, and returns
 * what they were.
 */
export async function ipBatch(
  lines: readonly string[],
  options: { netns?: string; force?: boolean } = {},
): Promise<string[]> {
  const argv = ['ip', ...(options.force ? ['-force'] : []), '-batch', '-'];
  const result = await runCommand(argv, { netns: options.netns, input: `${lines.join('\n')}\n` });
  if (options.force) return result.stderr.split('\n').filter((line) => line && !/^Command failed/.test(line));
  const failed = /^Command failed -:(\d+)$/m.exec(result.stderr);
  checkIp(result, failed ? lines[Number(failed[1]) - 1]! : lines.join('; '));
  return [];
}

/** The arguments of `ip route add|del|replace`. */
export function routeArguments(route: RouteSpec): string {
  const parts = [route.type === 'unreachable' ? 'unreachable' : '', prefix(route.prefix)].filter(Boolean);
  if (route.via !== undefined) {
    const [via, zone] = route.via.split('%') as [string, string?];
    const family = isIP(plainAddress(via));
    const same = (family === 6) === route.prefix.includes(':');
    parts.push(`via ${same ? '' : `inet${family === 6 ? '6' : ''} `}${via}`);
    // The zone of a link-local next hop is the interface, which may be given either way.
    if (zone !== undefined && interfaceName(zone) !== (route.device ?? zone)) throw badAddress(route.via);
    if (zone !== undefined && route.device === undefined) parts.push(`dev ${zone}`);
  }
  if (route.device !== undefined) parts.push(`dev ${interfaceName(route.device)}`);
  if (route.source !== undefined) parts.push(`src ${plainAddress(route.source)}`);
  if (route.metric !== undefined) parts.push(`metric ${integer('metric', route.metric)}`);
  if (route.table !== undefined) parts.push(`table ${integer('table', route.table)}`);
  if (route.protocol !== undefined) parts.push(`proto ${integer('protocol', route.protocol)}`);
  return parts.join(' ');
}

/** An interface name that is one plain word in a batch; throws ERR_INTERFACE. */
export function interfaceName(name: string): string {
  if (Buffer.byteLength(name) > 15) {
    throw new TunconnectorError('ERR_INTERFACE', `interface name '${name}' is longer than 15 bytes`);
  }
  // The kernel refuses '/', ':' and white space; quotes, '#' and '\' have a meaning in a batch.
  if (!/^[^\s/:"'#\\-][^\s/:"'#\\]*$/.test(name) || name === '.' || name === '..') {
    throw new TunconnectorError('ERR_INTERFACE', `${JSON.stringify(name)} is not an interface name`);
  }
  return name;
}

async function ip(argv: readonly string[], options: { netns?: string }): Promise<CommandResult> {
  const result = await runCommand(['ip', ...argv], { netns: options.netns });
  checkIp(result, argv.join(' '));
  return result;
}

/** Turns what `ip` or nsenter wrote to stderr into the error that says what to do. */
function checkIp(result: CommandResult, what: string): void {
  if (result.code === 0) return;
  const text = result.stderr.replace(/^Command failed -:\d+$/m, '').trim();
  const namespace = /^nsenter: (?:cannot open|reassociate to namespace) .*/m.exec(text);
  if (/Operation not permitted/.test(text) || (namespace && /Permission denied/.test(text))) {
    throw new TunconnectorError('ERR_PERMISSION', `ip ${what}: operation not permitted`, {
      remedy: NEEDS_ADMIN,
      errno: 'EPERM',
    });
  }
  if (namespace) {
    throw new TunconnectorError('ERR_INTERFACE', `no such network namespace (${namespace[0]})`);
  }
  throw new TunconnectorError('ERR_INTERFACE', `ip ${what}: ${reasonOf(result)}`, {
    remedy: remedyFor(text),
  });
}

/** The first line of what it said, without the words around it. */
function reasonOf(result: CommandResult): string {
  const [first = ''] = result.stderr
    .replace(/^Command failed -:\d+$/m, '')
    .trim()
    .split('\n');
  return first.replace(/^RTNETLINK answers: |^Error: |\.$/g, '').trim() || `exit code ${result.code}`;
}

function remedyFor(text: string): string | undefined {
  if (/File exists|already assigned/.test(text)) return 'remove the other one, or choose another';
  if (/IPv6 is disabled|Permission denied/.test(text)) return 'sysctl -w net.ipv6.conf.all.disable_ipv6=0';
  if (/Cannot find device/.test(text)) return 'ip link shows which interfaces there are';
  if (/invalid gateway|Network is unreachable/.test(text)) return 'the next hop must be reachable first';
  return undefined;
}

function prefix(text: string): string {
  const [address, length, dirt] = text.split('/');
  const family = isIP(address!);
  const bits = family === 4 ? 32 : 128;
  if (!family || address!.includes('%') || dirt !== undefined) throw badAddress(text);
  if (length !== undefined && !(/^\d{1,3}$/.test(length) && Number(length) <= bits)) throw badAddress(text);
  return length === undefined ? `${text}/${bits}` : text;
}

function plainAddress(text: string): string {
  if (!isIP(text) || text.includes('%')) throw badAddress(text);
  return text;
}

function badAddress(text: string): TunconnectorError {
  return new TunconnectorError('ERR_ADDRESS', `${JSON.stringify(text)} is not an IP address or prefix`);
}

function integer(what: string, value: number): string {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) return String(value);
  throw new TunconnectorError('ERR_INTERFACE', `${what} ${value} is not an integer of 32 bits`);
}

function word(what: string, value: string): string {
  if (/^\w+$/.test(value)) return value;
  throw new TunconnectorError('ERR_INTERFACE', `${what} ${JSON.stringify(value)} is not a plain word`);
}

interface LinkJson {
  ifname: string;
  ifindex: number;
  mtu: number;
  flags: string[];
  txqlen?: number;
  gso_max_size?: number;
  gso_max_segs?: number;
  link_type: string;
  address?: string;
  addr_info: { local: string; prefixlen: number }[];
}

interface RouteJson {
  type?: string;
  dst: string;
  gateway?: string;
  via?: { host: string };
  dev?: string;
  metric?: number;
  prefsrc?: string;
  protocol?: string;
  table?: string;
  flags?: string[];
  nexthops?: { gateway?: string; via?: { host: string }; dev?: string; flags?: string[] }[];
}

/** Of several next hops (ECMP) the first that lives stands for the route. */
function toRoute(entry: RouteJson, family: 4 | 6, table: string): Route {
  const isDead = (flags: string[] = []) => flags.includes('dead') || flags.includes('linkdown');
  const hops = entry.nexthops ?? [entry];
  const hop = hops.find(({ flags }) => !isDead(flags)) ?? hops[0]!;
  const bits = family === 4 ? 32 : 128;
  const destination = entry.dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : entry.dst;
  return {
    prefix: destination.includes('/') ? destination : `${destination}/${bits}`,
    via: hop.gateway ?? hop.via?.host,
    device: hop.dev ?? entry.dev,
    metric: entry.metric ?? 0,
    source: entry.prefsrc,
    type: entry.type ?? 'unicast',
    protocol: entry.protocol ?? 'boot',
    table,
    dead: isDead(hop.flags),
  };
}
