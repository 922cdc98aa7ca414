/** What a tunnel is asked to be: options of both ends, checked and completed before anything on the machine changes. */
import { z } from 'zod';
import { betweenSchema } from '../../engine/between.ts';
import { configError } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';
import {
  addressError,
  equalIp,
  formatIp,
  isLimitedBroadcast,
  isLoopback,
  isMulticast,
  isUnspecified,
  parseIp,
} from '../../packet/address.ts';
import {
  addressBits,
  broadcastOf,
  formatPrefix,
  type IpPrefix,
  networkOf,
  parsePrefix,
} from '../../packet/prefix.ts';
import { checkInterfaceName } from '../../tun/tun.ts';

export const DEFAULT_SERVER_PORT = 55_556;
export const DEFAULT_CLIENT_PORT = 55_555;
export const DEFAULT_SERVER = { interface: 'tun1', address: '192.168.1.2/24' };
export const DEFAULT_CLIENT = { interface: 'tun0', address: '192.168.0.2/24' };
/** RFC 8200, section 5: no IPv6 link is smaller. */
export const MIN_IPV6_MTU = 1280;

/** Turns an ERR_ADDRESS of `work` into an issue of the schema, so that the message has the option's path. */
function parsed<T>(work: (text: string) => T) {
  return (text: string, context: z.RefinementCtx<string>): T => {
    try {
      return work(text);
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  };
}

const interfaceName = z.string().transform(
  parsed((text) => {
    const name = checkInterfaceName(text);
    if (name === '') throw configError('expected an interface name');
    return name;
  }),
);
const address = z.string().transform(parsed(interfaceAddress));
const network = z.string().transform(parsed((text) => formatPrefix(parsePrefix(text, { length: 'host' }))));
const port = z.number().int().min(1).max(65_535);

const serverSchema = z.strictObject({
  /** The TUN or TAP to make. */
  interface: interfaceName.default(DEFAULT_SERVER.interface),
  /** Inner addresses; without a prefix length /24, and /64 for IPv6. */
  addresses: z.array(address).min(1).default([DEFAULT_SERVER.address]),
  /** Outer address to listen on; every address of this host when left out. */
  listen: z
    .string()
    .transform(parsed((text) => formatIp(parseIp(text))))
    .optional(),
  port: port.default(DEFAULT_SERVER_PORT),
  /** Outer networks from which clients may come; any when empty. */
  allow: z.array(network).default([]),
  maxClients: z.number().int().min(1).optional(),
  /** Inner networks behind clients: routed into the tunnel, and clients may announce them or addresses in them. */
  routes: z.array(network).default([]),
  /** Clients go out through this host's other interfaces, under its address. */
  nat: z.boolean().default(false),
});

const clientSchema = z.strictObject({
  interface: interfaceName.default(DEFAULT_CLIENT.interface),
  addresses: z.array(address).min(1).default([DEFAULT_CLIENT.address]),
  /** The server's address or host name. */
  remote: z.string().min(1),
  port: port.default(DEFAULT_CLIENT_PORT),
  /** Milliseconds between keepalives (`udp`); the server goes by what its clients tell it. */
  keepalive: z.number().int().min(100).max(30_000).default(1000),
  /** Networks behind this host, which the server shall reach through it. */
  announce: z.array(network).default([]),
  /** Networks to reach through the tunnel; `default` for everything, the way to the server excepted. */
  routes: z.array(z.union([z.literal('default'), network])).default([]),
});

const schema = z.strictObject({
  server: serverSchema.optional(),
  client: clientSchema.optional(),
  /** `udp` between two of ours; `raw` packets alone in UDP; `stream` over TCP with two-byte lengths. */
  format: z.enum(['udp', 'raw', 'stream']).default('udp'),
  /** `L3` makes a TUN, `L2` a TAP. */
  layer: z.enum(['L3', 'L2']).default('L3'),
  /** MTU of the interfaces, bytes; found out and followed when left out. */
  mtu: z.number().int().min(68).max(65_535).optional(),
  /** Turns IP forwarding on while the tunnel is there. Implied by `nat`, `announce`, and by both ends in one. */
  forward: z.boolean().default(false),
  /** Apps between the interface and the tunnel: `up` gets what goes into the tunnel, `down` what comes out of it. */
  between: betweenSchema.default({}),
  /** Where packets are moved: in the thread that starts the tunnel, or in one for each end. */
  thread: z.enum(['main', 'worker']).default('main'),
  gso: z.boolean().default(true),
  gro: z.boolean().default(true),
  /** Superframes between the kernel and the TUN or TAP. */
  vnetHeader: z.boolean().default(true),
});

export type TunnelOptions = z.input<typeof schema>;
export type CheckedTunnelOptions = z.output<typeof schema>;

/** `10.0.0.2` is `10.0.0.2/24`, `fd00::2` is `fd00::2/64`. @throws ERR_ADDRESS */
export function interfaceAddress(text: string): string {
  const length = text.includes(':') ? 64 : 24;
  const parsed = parsePrefix(text, { hostBits: true, length });
  const why = notAHost(parsed);
  if (why) throw addressError(text, "a host's address", why);
  return formatPrefix(parsed);
}

/** The kernel takes these, and then nothing works: no server welcomes who has one, and no host is reached by it. */
function notAHost(prefix: IpPrefix): string | undefined {
  const { address, length } = prefix;
  if (isUnspecified(address)) return 'it stands for no address at all';
  if (isLoopback(address)) return 'it is a loopback address';
  if (isMulticast(address)) return 'it is a multicast address';
  if (isLimitedBroadcast(address)) return 'it is the broadcast address';
  // RFC 3021, RFC 6164: in the longest prefixes every address is a host's.
  if (length > addressBits(address.family) - 2) return undefined;
  if (equalIp(networkOf(prefix).address, address)) return `it is the network ${formatPrefix(prefix)} itself`;
  if (address.family === 4 && equalIp(broadcastOf(prefix), address)) {
    return `it is the broadcast address of ${formatPrefix(networkOf(prefix))}`;
  }
  return undefined;
}

/** @throws ERR_CONFIG naming the option, what was found and what was expected */
export function checkTunnelOptions(options: TunnelOptions): CheckedTunnelOptions {
  const checked = checkOptions(schema as z.ZodType<CheckedTunnelOptions>, options);
  const { server, client, format, mtu } = checked;
  if (!server && !client) throw configError('options: found neither server nor client, expected one or both');
  if (server && client && server.interface === client.interface && !server.interface.includes('%')) {
    throw configError(`client.interface: found ${client.interface}, expected another than the server's`);
  }
  for (const [side, end] of Object.entries({ server, client })) {
    if (mtu !== undefined && mtu < MIN_IPV6_MTU && end?.addresses.some((each) => each.includes(':'))) {
      throw configError(
        `mtu: found ${mtu}, expected at least ${MIN_IPV6_MTU} with an IPv6 address in ${side}.addresses`,
      );
    }
  }
  if (format !== 'udp') refuseOutside(format, checked);
  return checked;
}

/** Only the `udp` format knows clients; an option of theirs would have no effect elsewhere. */
function refuseOutside(format: string, { server, client }: CheckedTunnelOptions): void {
  const found = [
    server && server.allow.length > 0 ? 'server.allow' : '',
    server?.maxClients !== undefined ? 'server.maxClients' : '',
    client && client.announce.length > 0 ? 'client.announce' : '',
  ].find(Boolean);
  if (found) throw configError(`${found}: has a meaning with the format udp alone, and it is ${format}`);
}

/** The families of some addresses or prefixes. */
export function familiesOf(texts: readonly string[]): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => texts.some((each) => each.includes(':') === (family === 6)));
}

/** `10.0.0.2/24` is on `10.0.0.0/24`. */
export const onLink = (interfaceAddress: string): string =>
  formatPrefix(networkOf(parsePrefix(interfaceAddress, { hostBits: true })));
