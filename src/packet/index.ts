/** Bytes: header codecs, checksums, addresses and prefixes, flow keys. Runs in a browser as well. */

export {
  type AddressLike,
  bytesOfFamily,
  compareIp,
  equalBytes,
  equalIp,
  formatIp,
  formatIpAt,
  type IpAddress,
  ipAt,
  isIp,
  isLimitedBroadcast,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  parseIp,
  parseIpv4,
  parseIpv6,
  toIp,
} from './address.ts';
export * as arp from './arp.ts';
export {
  type EchoOptions,
  type EndpointOptions,
  icmpEcho,
  ipPacket,
  type PacketOptions,
  type Payload,
  type TcpPacketOptions,
  tcpPacket,
  type UdpOptions,
  udpPacket,
} from './build.ts';
// Capture files.
export {
  CaptureDirection,
  type CaptureInterface,
  type CaptureInterfaceOptions,
  type CaptureRecord,
  type CaptureSink,
  type CaptureWriter,
  type CaptureWriterOptions,
  LinkType,
  SNAP_LENGTH,
} from './capture.ts';
export { CaptureReader, type CaptureReaderOptions, readCapture } from './capture-reader.ts';
export { checksum, fold, pseudoSum4, pseudoSum6, rewrite16, sum, update16, update32 } from './checksum.ts';
export { applyOuterEcn, decapsulateEcn, ECN_DROP, ecnOf, encapsulateEcn, setEcn } from './ecn.ts';
// Headers, each a namespace of accessors, `check`, `parse` and `emit`.
export * as ethernet from './ethernet.ts';
export {
  datagramKey,
  equalKeys,
  type Flow,
  flowFromKey,
  flowKey,
  flowOf,
  flowText,
  hashKey,
  KEY_CELLS,
  KeyCell,
  LATER_FRAGMENT,
} from './flow-key.ts';
export * as geneve from './geneve.ts';
export * as icmp from './icmp.ts';
export {
  buildErrorV4,
  buildErrorV6,
  MAX_ERROR_V4,
  MAX_ERROR_V6,
  mayAnswerV4,
  mayAnswerV6,
  timeExceeded,
  tooBig,
  UnreachableReason,
  unreachable,
} from './icmp-error.ts';
export * as icmpv6 from './icmpv6.ts';
export * as ip from './ip.ts';
export { CANNOT_FRAGMENT, emitFragment, fragmentCount, NEEDS_FRAGMENTATION } from './ip-fragment.ts';
export * as ipv4 from './ipv4.ts';
export * as ipv6 from './ipv6.ts';
export { KeyTable } from './key-table.ts';
export * as nsh from './nsh.ts';
export { PcapWriter, type PcapWriterOptions } from './pcap.ts';
export { PcapngWriter, type PcapngWriterOptions } from './pcapng.ts';
export {
  addressBits,
  broadcastOf,
  contains,
  type Endpoint,
  equalPrefix,
  formatEndpoint,
  formatMac,
  formatPrefix,
  hostAt,
  hostCount,
  type IpPrefix,
  networkOf,
  type PrefixOptions,
  parseEndpoint,
  parseMac,
  parsePrefix,
  toEndpoint,
} from './prefix.ts';
export { PrefixTable } from './prefix-table.ts';
export { Problem, problemText } from './problem.ts';
export { Ecn, EtherType, Protocol, protocolName } from './protocol.ts';
export {
  completeChecksum,
  emitSegment,
  Gso,
  PLAN_CELLS,
  PlanCell,
  planSegments,
  segmentLength,
} from './segment.ts';
export { describePacket } from './summary.ts';
export * as tcp from './tcp.ts';
export { checksumField, fillTransport, pseudoSum, Verdict, verifyTransport } from './transport.ts';
export { decrementTtl } from './ttl.ts';
export * as udp from './udp.ts';
export { isFragment, isLaterFragment, packUpper, upperDistance, upperProtocol } from './upper.ts';
export * as vxlanGpe from './vxlan-gpe.ts';
export { copyBytes, get16, get32, getInt32, put16, put32 } from './word.ts';
