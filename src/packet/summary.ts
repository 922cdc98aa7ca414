/** One line about a packet, as tcpdump writes it: for logs, traces and failing tests. */
import { formatIp, formatIpAt } from './address.ts';
import * as arp from './arp.ts';
import * as ethernet from './ethernet.ts';
import * as icmp from './icmp.ts';
import * as icmpv6 from './icmpv6.ts';
import * as ip from './ip.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import { formatMac } from './prefix.ts';
import { Problem, problemText } from './problem.ts';
import { EtherType, Protocol, protocolName } from './protocol.ts';
import * as tcp from './tcp.ts';
import * as udp from './udp.ts';
import { isFragment, isLaterFragment, upperDistance, upperProtocol } from './upper.ts';

const hex = (value: number, digits: number) => `0x${value.toString(16).padStart(digits, '0')}`;

/** Describes the packet at `bytes[at..at+length)`. Never throws. @param layer 2 an Ethernet frame, 3 an IP packet */
export function describePacket(
  bytes: Uint8Array,
  at = 0,
  length = bytes.length - at,
  layer: 2 | 3 = 3,
): string {
  const end = Math.min(at + length, bytes.length);
  return layer === 2 ? describeFrame(bytes, at, end) : describeIp(bytes, at, end);
}

function describeFrame(bytes: Uint8Array, at: number, end: number): string {
  const problem = ethernet.check(bytes, at, end);
  if (problem !== Problem.None) return `[Ethernet: ${problemText(problem)}, length ${Math.max(0, end - at)}]`;
  const found = ethernet.payload(bytes, at, end);
  if (found < 0) return `[Ethernet: ${problemText(-found)}, length ${end - at}]`;
  const tags = Array.from(
    { length: ethernet.tagCount(bytes, at, end) },
    (_, tag) => `vlan ${ethernet.vlanId(bytes, at, tag)}, p ${ethernet.vlanPriority(bytes, at, tag)}, `,
  ).join('');
  const head = `${formatMac(bytes, at + ethernet.SOURCE)} > ${formatMac(bytes, at + ethernet.DESTINATION)}, ${tags}`;
  const payload = at + ethernet.payloadDistance(found);
  const type = ethernet.payloadType(found);
  if (type === EtherType.Ipv4 || type === EtherType.Ipv6) return head + describeIp(bytes, payload, end);
  if (type === EtherType.Arp) return head + describeArp(bytes, payload, end);
  const name = type < 0x600 ? '802.3' : `ethertype ${hex(type, 4)}`;
  return `${head}${name}, length ${end - payload}`;
}

function describeArp(bytes: Uint8Array, at: number, end: number): string {
  const packet = arp.parse(bytes, at, end);
  if (!packet) return `[ARP: ${problemText(arp.check(bytes, at, end))}, length ${end - at}]`;
  const [sender, target] = [formatIp(packet.senderIp), formatIp(packet.targetIp)];
  if (packet.operation === arp.Operation.Request)
    return `ARP, Request who-has ${target} tell ${sender}, length 28`;
  if (packet.operation === arp.Operation.Reply)
    return `ARP, Reply ${sender} is-at ${packet.senderMac}, length 28`;
  return `ARP, operation ${packet.operation}, length 28`;
}

function describeIp(bytes: Uint8Array, at: number, end: number): string {
  const problem = ip.check(bytes, at, end);
  if (problem !== Problem.None) return `[IP: ${problemText(problem)}, length ${Math.max(0, end - at)}]`;
  const version = ip.version(bytes, at) === 4 ? 4 : 6;
  const name = version === 4 ? 'IP' : 'IP6';
  const source = formatIpAt(bytes, ip.sourceAt(bytes, at), version);
  const destination = formatIpAt(bytes, ip.destinationAt(bytes, at), version);
  const bare = `${name} ${source} > ${destination}:`;
  const upper = ip.upper(bytes, at);
  if (upper < 0) return `${bare} [${problemText(-upper)}]`;
  const stop = ip.packetEnd(bytes, at);
  const transport = at + upperDistance(upper);
  const protocol = upperProtocol(upper);
  const fragment = isFragment(upper) ? ` ${fragmentText(bytes, at, version, stop)}` : '';
  if (isLaterFragment(upper))
    return `${bare} ${protocolName(protocol)}${fragment}, length ${stop - transport}`;
  if (protocol === Protocol.Udp || protocol === Protocol.Tcp) {
    const broken =
      protocol === Protocol.Tcp ? tcp.check(bytes, transport, stop) : udp.check(bytes, transport, stop);
    // The first fragment of a datagram has the length of all.
    if (broken !== Problem.None && !(isFragment(upper) && broken === Problem.Length))
      return `${bare} [${protocolName(protocol)}: ${problemText(broken)}]${fragment}`;
    const ports = `${name} ${source}.${udp.sourcePort(bytes, transport)} > ${destination}.${udp.destinationPort(bytes, transport)}:`;
    const text =
      protocol === Protocol.Tcp
        ? describeTcp(bytes, transport, stop)
        : `UDP, length ${udp.length(bytes, transport) - udp.HEADER}`;
    return `${ports} ${text}${fragment}`;
  }
  const text =
    protocol === Protocol.Icmp && version === 4
      ? describeIcmp(bytes, transport, stop)
      : protocol === Protocol.Icmpv6 && version === 6
        ? describeIcmpv6(bytes, transport, stop)
        : `${protocolName(protocol)}, length ${stop - transport}`;
  return `${bare} ${text}${fragment}`;
}

function fragmentText(bytes: Uint8Array, at: number, version: 4 | 6, end: number): string {
  const header = version === 6 ? ipv6.findExtension(bytes, at, end, Protocol.Fragment) : at;
  const id = version === 6 ? ipv6.fragmentIdentification(bytes, header) : ipv4.identification(bytes, at);
  const offset = version === 6 ? ipv6.fragmentOffset(bytes, header) : ipv4.fragmentOffset(bytes, at);
  const more = version === 6 ? ipv6.moreFragments(bytes, header) : ipv4.moreFragments(bytes, at);
  return `(frag id ${id}, offset ${offset}${more ? '+' : ''})`;
}

function describeTcp(bytes: Uint8Array, at: number, end: number): string {
  const flags = tcp.flags(bytes, at);
  const length = end - at - tcp.headerLength(bytes, at);
  const sequence = tcp.sequence(bytes, at);
  const range = length > 0 ? `${sequence}:${(sequence + length) % 2 ** 32}` : `${sequence}`;
  const parts = [`Flags [${tcp.flagText(flags)}]`, `seq ${range}`];
  if (flags & tcp.Flag.Ack) parts.push(`ack ${tcp.acknowledgment(bytes, at)}`);
  parts.push(`win ${tcp.window(bytes, at)}`);
  const options = tcp.parse(bytes, at, end)?.options;
  if (!options) parts.push('options [malformed]');
  else if (Object.keys(options).length > 0) parts.push(`options [${optionText(options)}]`);
  return `${parts.join(', ')}, length ${length}`;
}

function optionText(options: tcp.TcpOptions): string {
  const parts: string[] = [];
  if (options.mss !== undefined) parts.push(`mss ${options.mss}`);
  if (options.sackPermitted) parts.push('sackOK');
  if (options.timestamps) parts.push(`TS val ${options.timestamps.value} ecr ${options.timestamps.echo}`);
  if (options.windowScale !== undefined) parts.push(`wscale ${options.windowScale}`);
  if (options.sack) {
    parts.push(`sack ${options.sack.length} ${options.sack.map((block) => `{${block.join(':')}}`).join('')}`);
  }
  return parts.join(',');
}

const ICMP_UNREACHABLE = new Map<number, string>([
  [icmp.Unreachable.Network, 'net'],
  [icmp.Unreachable.Host, 'host'],
  [icmp.Unreachable.Protocol, 'protocol'],
  [icmp.Unreachable.Port, 'port'],
]);

function describeIcmp(bytes: Uint8Array, at: number, end: number): string {
  const length = `length ${end - at}`;
  if (icmp.check(bytes, at, end) !== Problem.None)
    return `[ICMP: ${problemText(Problem.Truncated)}], ${length}`;
  const type = icmp.type(bytes, at);
  const code = icmp.code(bytes, at);
  if (icmp.isEcho(type)) {
    const which = type === icmp.Type.Echo ? 'request' : 'reply';
    return `ICMP echo ${which}, id ${icmp.identifier(bytes, at)}, seq ${icmp.sequence(bytes, at)}, ${length}`;
  }
  if (type === icmp.Type.Unreachable) {
    const what =
      code === icmp.Unreachable.FragmentationNeeded
        ? `need to frag (mtu ${icmp.nextHopMtu(bytes, at)})`
        : `${ICMP_UNREACHABLE.get(code) ?? `code ${code}`} unreachable`;
    return `ICMP ${what}${quoted(bytes, at + icmp.BODY, end, 4)}, ${length}`;
  }
  if (type === icmp.Type.TimeExceeded) {
    const what = code === icmp.TimeExceeded.Transit ? 'in-transit' : 'reassembly';
    return `ICMP time exceeded ${what}${quoted(bytes, at + icmp.BODY, end, 4)}, ${length}`;
  }
  return `ICMP type ${type} code ${code}, ${length}`;
}

const ND_NAMES = new Map<number, string>([
  [icmpv6.Type.RouterSolicitation, 'router solicitation'],
  [icmpv6.Type.RouterAdvertisement, 'router advertisement'],
  [icmpv6.Type.NeighborSolicitation, 'neighbor solicitation, who has'],
  [icmpv6.Type.NeighborAdvertisement, 'neighbor advertisement, tgt is'],
  [icmpv6.Type.Redirect, 'redirect, to'],
]);

function describeIcmpv6(bytes: Uint8Array, at: number, end: number): string {
  const length = `length ${end - at}`;
  const problem = icmpv6.check(bytes, at, end);
  if (problem !== Problem.None) return `[ICMP6: ${problemText(problem)}], ${length}`;
  const type = icmpv6.type(bytes, at);
  if (icmpv6.isEcho(type)) {
    const which = type === icmpv6.Type.Echo ? 'request' : 'reply';
    return `ICMP6, echo ${which}, id ${icmpv6.identifier(bytes, at)}, seq ${icmpv6.sequence(bytes, at)}, ${length}`;
  }
  const body = at + icmpv6.BODY;
  if (type === icmpv6.Type.PacketTooBig)
    return `ICMP6, packet too big, mtu ${icmpv6.mtu(bytes, at)}${quoted(bytes, body, end, 6)}, ${length}`;
  if (type === icmpv6.Type.TimeExceeded)
    return `ICMP6, time exceeded in-transit${quoted(bytes, body, end, 6)}, ${length}`;
  if (type === icmpv6.Type.Unreachable) {
    return `ICMP6, destination unreachable, code ${icmpv6.code(bytes, at)}${quoted(bytes, body, end, 6)}, ${length}`;
  }
  const nd = icmpv6.parseNd(bytes, at, end);
  const target = nd?.target ? ` ${formatIp(nd.target)}` : '';
  return `ICMP6, ${ND_NAMES.get(type) ?? `type ${type} code ${icmpv6.code(bytes, at)}`}${target}, ${length}`;
}

/** Whom the quoted packet was for. */
function quoted(bytes: Uint8Array, at: number, end: number, version: 4 | 6): string {
  const header = version === 4 ? ipv4.HEADER : ipv6.HEADER;
  if (end - at < header || bytes[at] >> 4 !== version) return '';
  return ` for ${formatIpAt(bytes, ip.destinationAt(bytes, at), version)}`;
}
