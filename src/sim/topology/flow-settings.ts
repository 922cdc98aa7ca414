/** Traffic of a topology as it is written: TCP transfers, UDP at a rate, echo requests, from one host to another. Plain data; checked here. */
import { z } from 'zod';
import { configError } from '../../engine/config.ts';
import { rate, size, time } from '../../impair/quantities.ts';
import { formatIp } from '../../packet/address.ts';
import type { LinkSettings } from './topology.ts';

const common = {
  from: z.string(),
  to: z.string(),
  /** When it begins. */
  at: time.default(0),
  /** How long it goes on; without it, to the end of the simulation. */
  for: time.optional(),
  /** Of the addresses of `to`; the first that it has where it is left out. */
  family: z.literal([4, 6], { error: 'expected 4 or 6' }).optional(),
};

const port = z.number().int().min(1).max(65_535).optional();
const buffer = size.pipe(
  z
    .number()
    .min(4096, { error: 'expected 4096 bytes or more' })
    .max(1 << 30, { error: 'expected 1024mb or less' }),
);
const PROBE = 16;

const flowSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({
      kind: z.literal('tcp'),
      ...common,
      port,
      /** How much is sent, unless `for` ends it before. */
      bytes: size.optional(),
      congestion: z.enum(['cubic', 'newreno'], { error: 'expected "cubic" or "newreno"' }).default('cubic'),
      receiveBuffer: buffer.default(4 << 20),
      sendBuffer: buffer.default(4 << 20),
    }),
    z.strictObject({
      kind: z.literal('udp'),
      ...common,
      port,
      /** Of payload. */
      rate,
      /** Bytes of payload in a datagram. */
      size: size
        .pipe(
          z
            .number()
            .min(PROBE, { error: 'expected 16 to 65507 bytes' })
            .max(65_507, { error: 'expected 16 to 65507 bytes' }),
        )
        .default(1200),
    }),
    z.strictObject({
      kind: z.literal('ping'),
      ...common,
      every: time.pipe(z.number().min(1e6, { error: 'expected 1ms or more' })).default(1e9),
      size: size.pipe(z.number().max(65_507, { error: 'expected 65507 bytes or less' })).default(56),
    }),
  ],
  { error: 'expected "kind": "tcp", "udp" or "ping"' },
);

export const flowsSchema = z.record(z.string(), flowSchema).default({});

/** Where it goes to. */
interface Way {
  name: string;
  /** Of the receiver. */
  address: string;
  /** 0 for echo requests. */
  port: number;
}

type Checked = z.output<typeof flowSchema>;
type Of<Kind extends Checked['kind']> = Omit<Extract<Checked, { kind: Kind }>, 'port' | 'family'> & Way;
export type TcpFlowSettings = Of<'tcp'>;
export type UdpFlowSettings = Of<'udp'>;
export type PingFlowSettings = Of<'ping'>;
export type FlowSettings = TcpFlowSettings | UdpFlowSettings | PingFlowSettings;

/** Ports of those that name none: from here on, for each receiver. */
const FIRST_PORT = 5001;
/** Behind it are ports that connections choose. */
const LAST_PORT = 32_767;

/** @throws ERR_CONFIG */
export function checkFlows(
  flows: Readonly<Record<string, Checked>>,
  hosts: ReadonlyMap<string, unknown>,
  links: readonly LinkSettings[],
): FlowSettings[] {
  const addresses = new Map<string, { family: 4 | 6; text: string }[]>();
  for (const { ends } of links)
    for (const { host, prefixes } of ends) {
      const known = addresses.get(host) ?? [];
      for (const { address } of prefixes) known.push({ family: address.family, text: formatIp(address) });
      addresses.set(host, known);
    }
  const taken = new Map<string, string>();
  const next = new Map<string, number>();
  return Object.entries(flows).map(([name, flow]) => {
    const place = `flows.${name}`;
    for (const end of ['from', 'to'] as const)
      if (!hosts.has(flow[end]))
        throw configError(`${place}.${end}: found "${flow[end]}", expected one of the hosts`);
    const { family, ...rest } = flow;
    const address = addresses.get(flow.to)?.find((each) => family === undefined || each.family === family);
    if (!address)
      throw configError(
        `${place}.to: found "${flow.to}", which has no address of IPv${family ?? '4 or IPv6'}`,
      );
    if (rest.kind === 'ping') return { ...rest, name, address: address.text, port: 0 };
    const key = (number: number) => `${rest.kind} ${rest.to} ${number}`;
    let number = rest.port;
    if (number === undefined) {
      number = next.get(`${rest.kind} ${rest.to}`) ?? FIRST_PORT;
      while (taken.has(key(number))) number++;
      if (number > LAST_PORT) throw configError(`${place}: ${rest.to} has no port for it any more`);
      next.set(`${rest.kind} ${rest.to}`, number + 1);
    }
    const other = taken.get(key(number));
    if (other) throw configError(`${place}.port: found ${number}, which is that of ${other}, too`);
    taken.set(key(number), name);
    return { ...rest, name, address: address.text, port: number };
  });
}
