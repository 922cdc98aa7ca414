/** What a delivery is told. Plain data, checked here. */
import { z } from 'zod';
import { checkOptions } from '../engine/options.ts';
import { SECOND } from '../engine/units.ts';
import { time } from '../impair/quantities.ts';
import { ADDRESS_MAP, PREFIX } from './words.ts';

const prefixes = z.array(PREFIX).max(4096).default([]);
const idle = (value: number) => time.refine((ns) => ns >= SECOND, 'at least 1s').default(value);

/** What of it users choose. */
export const reachShape = {
  /** Networks that may be reached although they are closed without this. The longest prefix wins. */
  allow: prefixes,
  /** Networks that may not be reached. */
  deny: prefixes,
  /** Addresses, or addresses with ports, that stand for others: `192.0.2.1=127.0.0.1`, `192.0.2.1:53=127.0.0.53:53`. */
  map: z.array(ADDRESS_MAP).max(1024).default([]),
};

export const limitsShape = {
  /** TCP connections at a time, those that are being opened among them. */
  connections: z.number().int().min(1).max(16_000).default(4096),
  /** UDP flows at a time, and as many that ping. */
  flows: z.number().int().min(1).max(100_000).default(4096),
  /** Of one client, of each. */
  perSource: z.number().int().min(1).max(100_000).default(1024),
  /** Bytes that may wait in each direction of a connection. */
  buffer: z
    .number()
    .int()
    .min(65_536)
    .max(1 << 30)
    .default(4 << 20),
  /** Silence after which a UDP flow ends; and of one to a port below 1024 with one datagram each way at most. */
  udp: idle(300 * SECOND),
  udpQuestion: idle(30 * SECOND),
};

const schema = z.strictObject({
  ...reachShape,
  ...limitsShape,
  /** Of this delivery itself: they answer pings. */
  addresses: z.array(z.string()).max(64).default([]),
  /** Longest IP packet towards clients: bytes. */
  mtu: z.number().int().min(1280).max(65_535).default(1500),
  /** Clients are whoever runs this: what is closed for others is open for them. */
  trusted: z.boolean().default(false),
});

export type DeliverOptions = z.input<typeof schema>;
export type DeliverSettings = z.output<typeof schema>;

/** @throws ERR_CONFIG */
export const checkDeliver = (options: DeliverOptions): DeliverSettings =>
  checkOptions<DeliverSettings>(schema as z.ZodType<DeliverSettings>, options);
