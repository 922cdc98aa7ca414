/** Why the neighbours app drops frames and packets. */
import { reason } from '../../engine/reasons.ts';

export const NeighbourDrop = {
  /** For another station, from a group, or too short. */
  Frame: reason('frame-not-mine'),
  /** Neither IPv4, IPv6 nor ARP. */
  EtherType: reason('frame-type'),
  /** An IP packet for one host in a frame for many (RFC 1122, 3.3.6). */
  GroupFrame: reason('frame-to-group'),
  /** ARP or Neighbor Discovery that is malformed, or that a host does not listen to (advertised routers, redirects). */
  Discovery: reason('discovery-malformed'),
  /** An answer that nobody asked for: it may be a lie. */
  Unasked: reason('discovery-unasked'),
  /** The neighbour did not answer. */
  Unreachable: reason('neighbour-unreachable'),
  /** More packets than wait for one neighbour. */
  QueueFull: reason('neighbour-queue-full'),
} as const;
