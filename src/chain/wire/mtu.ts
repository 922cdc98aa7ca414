/** What the prefix and the headers outside of it leave for a packet. */
import * as ipv4 from '../../packet/ipv4.ts';
import * as ipv6 from '../../packet/ipv6.ts';
import * as udp from '../../packet/udp.ts';
import { prefixLength } from './prefix.ts';

/** Bytes that a chain through so many functions puts in front of a packet, over IPv4 or IPv6. */
export const overhead = (functions: number, outer: 4 | 6): number =>
  (outer === 4 ? ipv4.HEADER : ipv6.HEADER) + udp.HEADER + prefixLength(functions);

/** The longest packet that crosses a link of `mtu` bytes inside of a chain. */
export const innerMtu = (mtu: number, functions: number, outer: 4 | 6): number =>
  mtu - overhead(functions, outer);
