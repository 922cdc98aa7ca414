/** Why the IP half of the stack, and UDP, drop packets. Every check has a reason of its own. */
import { reason } from '../engine/reasons.ts';

export const StackDrop = {
  /** Neither IPv4 nor IPv6. */
  Version: reason('ip-version'),
  /** Lengths that do not fit each other. */
  Length: reason('ip-length'),
  /** The checksum of an IPv4 header. */
  HeaderChecksum: reason('ip-checksum'),
  /** Malformed or unwanted: options of IPv4, extension headers of IPv6. */
  Options: reason('ip-options'),
  /** An address that no packet from outside may have: RFC 1122, 3.2.1.3; RFC 4291, 2.5. */
  Martian: reason('ip-martian'),
  /** For somebody else, and this host does not forward. */
  NotMine: reason('ip-not-mine'),
  /** No route leads there. */
  NoRoute: reason('ip-no-route'),
  /** TTL or hop limit has ended. */
  Expired: reason('ip-expired'),
  /** Longer than the next link's MTU, and must not be fragmented. */
  TooBig: reason('ip-too-big'),
  /** Nobody here speaks this protocol. */
  Protocol: reason('ip-protocol'),
  /** A fragment whose length or place cannot be. */
  Fragment: reason('fragment-malformed'),
  /** Fragments that overlap end their datagram (RFC 5722). */
  FragmentOverlap: reason('fragment-overlap'),
  /** The same fragment once more. */
  FragmentAgain: reason('fragment-again'),
  /** More fragments than are kept: the oldest datagram had to go. */
  FragmentLimit: reason('fragment-limit'),
  /** The rest of the datagram did not come in time. */
  FragmentTimeout: reason('fragment-timeout'),
  /** ICMP that is malformed or has a wrong checksum. */
  Icmp: reason('icmp-malformed'),
  /** ICMP that nobody asked for: a type without meaning here, an error about a packet that was not sent. */
  IcmpUnwanted: reason('icmp-unwanted'),
  /** UDP lengths or checksum. */
  Udp: reason('udp-malformed'),
  /** No socket at this port. */
  UdpPort: reason('udp-no-socket'),
  /** A new flow of UDP to another host, of which there are as many as may be. */
  UdpFlows: reason('udp-flows'),
  /** A new flow of pings to another host, of which there are as many as may be. */
  EchoFlows: reason('echo-flows'),
  /** A ping to another host that nobody takes there. */
  EchoRefused: reason('echo-refused'),
  /** The way out has no room and its queue is full. */
  QueueFull: reason('stack-queue-full'),
} as const;
