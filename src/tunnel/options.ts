/** Options that the tunnel's ends have in common. */
import { z } from 'zod';
import { configError } from '../engine/config.ts';
import { TunconnectorError } from '../errors.ts';
import { type IpPrefix, parsePrefix } from '../packet/prefix.ts';

/** The largest UDP payload over IPv4. */
export const MAX_DATAGRAM = 65507;

export const tunnelSchema = {
  /** `L3`: IP packets of a TUN; `L2`: Ethernet frames of a TAP. */
  layer: z.enum(['L3', 'L2']).default('L3'),
  /** This end's inner addresses with the length of their network, as the interface has them. */
  addresses: z.array(z.string()).default([]),
  /** Largest inner packet in bytes (of IP; on layer 2, of the frame); found out when left out. */
  mtu: z.number().int().min(68).max(65_535).optional(),
  /** Largest datagram (UDP payload, bytes) that this end sends and takes. */
  maxDatagram: z.number().int().min(512).max(MAX_DATAGRAM).default(1472),
};

/** Parses a list of prefixes, naming the option and the entry that does not fit. */
export function prefixes(key: string, texts: readonly string[], interfaceAddresses = false): IpPrefix[] {
  return texts.map((text, i) => {
    try {
      return parsePrefix(text, interfaceAddresses ? { hostBits: true, length: 'host' } : { length: 'host' });
    } catch (error) {
      if (error instanceof TunconnectorError) throw configError(`${key}.${i}: ${error.message}`);
      throw error;
    }
  });
}
