/** What a TCP can be told, and what one connection can. */
import { z } from 'zod';
import { checkOptions } from '../../engine/options.ts';
import { duration } from '../../engine/units.ts';
import type { CongestionFactory } from './congestion/control.ts';
import { Cubic } from './congestion/cubic.ts';
import { NewReno } from './congestion/new-reno.ts';

export const MS = 1e6;
export const SECOND = 1e9;

export interface TcpSettings {
  /** Bytes that may wait to be sent, and to be read: for each connection. A power of two is used whole. */
  sendBuffer: number;
  receiveBuffer: number;
  /** Sends short segments at once, without waiting for what is under way (Nagle off). */
  noDelay: boolean;
  /** ns of silence after which a peer is asked whether it is there; 0: never. */
  keepAlive: number;
  keepAliveInterval: number;
  keepAliveProbes: number;
  /** ns that what was sent may go unacknowledged before the connection ends with ETIMEDOUT (RFC 5482). */
  userTimeout: number;
  /** Retransmissions of a SYN: after 1, 3, 7, 15 s and so on. One more period, and it ends with ETIMEDOUT. */
  synRetries: number;
  /** Asks for ECN. A peer that asks gets it either way. */
  ecn: boolean;
  sack: boolean;
  timestamps: boolean;
  windowScaling: boolean;
  congestion: 'cubic' | 'newreno' | CongestionFactory;
  /** ns; RFC 6298 has 1 s, which Linux and others have found to be far too long. */
  minRto: number;
  /** ns that an ACK may wait for more to acknowledge. RFC 1122: at most 500 ms. */
  delayedAck: number;
}

export const DEFAULTS: TcpSettings = {
  sendBuffer: 4 << 20,
  receiveBuffer: 4 << 20,
  noDelay: false,
  keepAlive: 0,
  keepAliveInterval: 75 * SECOND,
  keepAliveProbes: 9,
  userTimeout: 300 * SECOND,
  synRetries: 4,
  ecn: false,
  sack: true,
  timestamps: true,
  windowScaling: true,
  congestion: 'cubic',
  minRto: 200 * MS,
  delayedAck: 40 * MS,
};

const time = z.union([z.number().nonnegative(), z.string()]).transform((value) => duration(value));
const bytes = z
  .number()
  .int()
  .min(4096)
  .max(1 << 30);

/** Times are ns, or text such as `200ms`. */
export const tcpSchema = z.strictObject({
  sendBuffer: bytes.default(DEFAULTS.sendBuffer),
  receiveBuffer: bytes.default(DEFAULTS.receiveBuffer),
  noDelay: z.boolean().default(DEFAULTS.noDelay),
  keepAlive: time.default(DEFAULTS.keepAlive),
  keepAliveInterval: time.default(DEFAULTS.keepAliveInterval),
  keepAliveProbes: z.number().int().min(1).max(100).default(DEFAULTS.keepAliveProbes),
  userTimeout: time.default(DEFAULTS.userTimeout),
  synRetries: z.number().int().min(0).max(16).default(DEFAULTS.synRetries),
  ecn: z.boolean().default(DEFAULTS.ecn),
  sack: z.boolean().default(DEFAULTS.sack),
  timestamps: z.boolean().default(DEFAULTS.timestamps),
  windowScaling: z.boolean().default(DEFAULTS.windowScaling),
  congestion: z
    .union([
      z.enum(['cubic', 'newreno']),
      z.custom<CongestionFactory>((value) => typeof value === 'function'),
    ])
    .default(DEFAULTS.congestion),
  minRto: time.default(DEFAULTS.minRto),
  delayedAck: time.default(DEFAULTS.delayedAck),
});

export type TcpOptions = z.input<typeof tcpSchema>;

/** @throws ERR_CONFIG */
export const checkTcp = (options: TcpOptions): TcpSettings =>
  checkOptions<TcpSettings>(tcpSchema as z.ZodType<TcpSettings>, options);

export function congestionOf({ congestion }: TcpSettings) {
  if (congestion === 'cubic') return new Cubic();
  return congestion === 'newreno' ? new NewReno() : congestion();
}

/** Of the whole TCP. */
export interface TcpLimits {
  /** Connections, those in TIME-WAIT apart. */
  connections: number;
  timeWaits: number;
  /** Bytes of all buffers together. */
  memory: number;
}

export const LIMITS: TcpLimits = { connections: 16_384, timeWaits: 16_384, memory: 512 << 20 };
/** RFC 9293, 3.4.1: twice the maximum segment lifetime. */
export const TIME_WAIT = 60 * SECOND;
/** How long a connection that the program has ended waits for the peer's FIN. */
export const FIN_WAIT_2 = 60 * SECOND;
