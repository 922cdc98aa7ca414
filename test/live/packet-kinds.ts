/**
 * Packets of all kinds that a tunnel must carry byte for byte: those that its fast path merges, those that look as if
 * it could, and those that it must leave alone. Each comes with the name of its kind.
 */
import {
  EtherType,
  emitFragment,
  ethernet,
  fragmentCount,
  icmpEcho,
  ipPacket,
  Protocol,
  parseIp,
  tcp,
  tcpPacket,
  udpPacket,
} from '../../src/packet/index.ts';

export interface Kind {
  kind: string;
  /** Each in its order; they are sent one packet of each after the other. */
  flows: Uint8Array[][];
  /** False when whoever merges may bring a late packet back into its place. */
  ordered?: false;
  /** True where IPv4's identification means nothing (RFC 6864, 4.1: DF is set) and merging may number anew. */
  renumbered?: true;
}

/** As a kind of one flow is written down. */
type Draft = Kind | (Omit<Kind, 'flows'> & { packets: Uint8Array[] });

export interface Between {
  family: 4 | 6;
  from: string;
  to: string;
  /** The longest inner packet that leaves in one piece, bytes of IP. */
  mtu: number;
}

const times = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i));
const { Ack, Cwr, Ece, Fin, Psh, Rst, Syn, Urg } = tcp.Flag;

/** Bytes that differ from segment to segment. */
const bytes = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31 + (i >> 8)) & 0xff);

/** With a bit of the last byte turned, which no checksum knows of. */
function damaged(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy[copy.length - 1]! ^= 0x10;
  return copy;
}

class Maker {
  readonly #between: Between;
  #port: number;
  #identification = 100;

  constructor(between: Between, firstPort = 2000) {
    this.#between = between;
    this.#port = firstPort;
  }

  #ends(port: number) {
    const { family, from, to } = this.#between;
    return family === 4
      ? { from: `${from}:${port}`, to: `${to}:9` }
      : { from: `[${from}]:${port}`, to: `[${to}]:9` };
  }

  /** A flow of its own: TCP segments one after the other. `vary` changes one of them. */
  tcp(
    lengths: readonly number[],
    options: object = {},
    vary: (i: number) => object = () => ({}),
    start = 1_000_000,
  ): Uint8Array[] {
    const ends = this.#ends(this.#port++);
    let sequence = start;
    return lengths.map((length, i) => {
      const packet = tcpPacket({
        ...ends,
        sequence,
        acknowledgment: 77,
        window: 501,
        dontFragment: true,
        identification: this.#identification++ & 0xffff,
        payload: bytes(length, i),
        ...options,
        ...vary(i),
      });
      sequence = (sequence + length) >>> 0;
      return packet;
    });
  }

  /** A flow of its own: UDP datagrams. */
  udp(lengths: readonly number[], options: object = {}, vary: (i: number) => object = () => ({})) {
    const ends = this.#ends(this.#port++);
    return lengths.map((length, i) =>
      udpPacket({
        ...ends,
        identification: this.#identification++ & 0xffff,
        payload: bytes(length, i),
        ...options,
        ...vary(i),
      }),
    );
  }

  other(protocol: number, length: number): Uint8Array {
    const { from, to } = this.#between;
    return ipPacket({ from: parseIp(from), to: parseIp(to), protocol, transport: bytes(length, protocol) });
  }
}

const full = (n: number, length: number, last = length) => [...times(n - 1, () => length), last];
const timestamps = (i: number) => ({ tcpOptions: { timestamps: { value: 5000 + (i >> 3), echo: 4000 } } });

/** What both families have. */
function common(make: Maker, between: Between): Draft[] {
  const { family, mtu, from, to } = between;
  const header = family === 4 ? 20 : 40;
  const segment = mtu - header - 20;
  return [
    {
      kind: 'TCP train',
      packets: make.tcp(full(60, segment, 333), {}, (i) => (i === 59 ? { flags: Ack | Psh } : {})),
    },
    { kind: 'TCP train with timestamps', packets: make.tcp(full(60, 1000), {}, timestamps) },
    { kind: 'TCP train, PSH on each', packets: make.tcp(full(12, 900), { flags: Ack | Psh }) },
    { kind: 'TCP segments of one byte', packets: make.tcp(full(600, 1)) },
    { kind: 'TCP segments of one byte, PSH', packets: make.tcp(full(40, 1), { flags: Ack | Psh }) },
    { kind: 'TCP segments of odd sizes', packets: make.tcp(times(60, (i) => ((i * 37) % 1001) + 1)) },
    { kind: 'TCP train that grows', packets: make.tcp(times(20, (i) => 100 + i)) },
    { kind: 'TCP sequence wraps', packets: make.tcp(full(20, 1000), {}, undefined, 2 ** 32 - 5500) },
    {
      kind: 'TCP pure ACKs',
      packets: make.tcp(
        times(10, () => 0),
        {},
        (i) => ({ acknowledgment: 1000 + i * 10 }),
      ),
    },
    {
      kind: 'TCP SACK blocks',
      packets: make.tcp(
        times(5, () => 0),
        {},
        (i) => ({
          tcpOptions: { sack: [[2000, 3000 + i]], timestamps: { value: 1, echo: 2 } },
        }),
      ),
    },
    {
      kind: 'TCP handshake and end',
      packets: make.tcp([0, 700, 700, 700, 0, 0], {}, (i) => ({
        flags: [Syn, Ack, Ack, Ack | Psh | Fin, Rst, Rst | Ack][i],
        tcpOptions: i === 0 ? { mss: 1400, windowScale: 7, sackPermitted: true } : undefined,
      })),
    },
    {
      kind: 'TCP urgent, ECE and CWR among others',
      packets: make.tcp(full(24, 800), {}, (i) => ({
        flags: i === 7 ? Ack | Urg : i === 11 ? Ack | Ece : i === 15 ? Ack | Cwr : Ack,
        urgent: i === 7 ? 5 : 0,
      })),
    },
    {
      kind: 'TCP window changes',
      packets: make.tcp(full(9, 700), {}, (i) => ({ window: 500 + (i > 4 ? 1 : 0) })),
    },
    { kind: 'TCP TTL changes', packets: make.tcp(full(9, 700), {}, (i) => ({ ttl: 64 - (i > 4 ? 1 : 0) })) },
    { kind: 'TCP DSCP changes', packets: make.tcp(full(9, 700), {}, (i) => ({ dscp: i > 4 ? 46 : 0 })) },
    {
      kind: 'TCP ECN marks mixed',
      packets: make.tcp(full(16, 700), {}, (i) => ({ ecn: [2, 2, 3, 2][i % 4] })),
    },
    { kind: 'TCP ECT(1)', packets: make.tcp(full(16, 700), { ecn: 1 }) },
    { kind: 'TCP two flows interleaved', flows: [make.tcp(full(30, 800)), make.tcp(full(30, 900))] },
    {
      kind: 'TCP eight flows interleaved',
      flows: times(8, () => make.tcp(full(12, 1100, 17), {}, timestamps)),
    },
    { kind: 'TCP out of order', packets: shuffled(make.tcp(full(24, 600))), ordered: false },
    { kind: 'TCP repeated', packets: make.tcp(full(6, 650)).flatMap((each) => [each, each]), ordered: false },
    {
      kind: 'TCP bad checksum within',
      packets: make.tcp(full(12, 640)).map((each, i) => (i % 5 === 3 ? damaged(each) : each)),
      ordered: false,
    },
    { kind: 'UDP train', packets: make.udp(full(60, 1200)) },
    { kind: 'UDP train with a short end', packets: make.udp(full(20, 64, 63)) },
    { kind: 'UDP every size to 40', packets: make.udp(times(41, (i) => i)) },
    { kind: 'UDP sizes down from the MTU', packets: make.udp(times(9, (i) => mtu - header - 8 - i)) },
    {
      kind: 'UDP ECN marks mixed',
      packets: make.udp(full(16, 300), {}, (i) => ({ ecn: [0, 2, 3, 1][i % 4] })),
    },
    { kind: 'UDP hop limit changes', packets: make.udp(full(8, 300), {}, (i) => ({ ttl: 60 + (i & 1) })) },
    {
      kind: 'UDP bad checksum within',
      packets: make.udp(full(12, 640)).map((each, i) => (i % 5 === 3 ? damaged(each) : each)),
      ordered: false,
    },
    { kind: 'UDP flows interleaved', flows: times(6, () => make.udp(full(10, 512))) },
    {
      kind: 'echo',
      packets: times(6, (i) => icmpEcho({ from, to, sequence: i + 1, reply: true, payload: 100 + i })),
    },
    {
      kind: 'other protocols',
      packets: [Protocol.Gre, Protocol.Sctp, Protocol.UdpLite, 253].map((each) => make.other(each, 120)),
    },
  ];
}

function fourOnly(make: Maker, { mtu }: Between): Draft[] {
  const fragmented = make.udp([3000], { identification: 4242 })[0]!;
  const tcpFragmented = make.tcp([2500], { dontFragment: false, identification: 4243 })[0]!;
  const fragments = (packet: Uint8Array) =>
    times(fragmentCount(packet, 0, packet.length, mtu), (i) => {
      const into = new Uint8Array(mtu);
      return into.slice(0, emitFragment(packet, 0, packet.length, mtu, i, into, 0));
    });
  const id = (each: (i: number) => number, dontFragment: boolean) => (i: number) => ({
    identification: each(i) & 0xffff,
    dontFragment,
  });
  // Router alert (RFC 2113), and a record route with two empty places.
  const alert = Uint8Array.of(148, 4, 0, 0);
  const route = Uint8Array.of(7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1);
  return [
    {
      kind: 'IPv4 ids wrap',
      packets: make.tcp(
        full(20, 500),
        {},
        id((i) => 65530 + i, false),
      ),
    },
    {
      kind: 'IPv4 ids of any order',
      packets: make.tcp(
        full(20, 500),
        {},
        id((i) => i * 7919, false),
      ),
    },
    {
      kind: 'IPv4 ids of any order with DF',
      packets: make.tcp(
        full(20, 500),
        {},
        id((i) => i * 7919, true),
      ),
    },
    {
      kind: 'IPv4 ids all 0 with DF',
      renumbered: true,
      packets: make.tcp(
        full(20, 500),
        {},
        id(() => 0, true),
      ),
    },
    { kind: 'IPv4 DF on some', packets: make.tcp(full(20, 500), {}, (i) => ({ dontFragment: (i & 4) > 0 })) },
    {
      kind: 'IPv4 UDP ids of any order',
      packets: make.udp(
        full(20, 500),
        {},
        id((i) => i * 7919, false),
      ),
    },
    {
      kind: 'IPv4 UDP ids all 0 with DF',
      renumbered: true,
      packets: make.udp(
        full(20, 500),
        {},
        id(() => 0, true),
      ),
    },
    { kind: 'IPv4 UDP without checksum', packets: make.udp(full(20, 400), { noChecksum: true }) },
    {
      kind: 'IPv4 UDP checksum on some',
      packets: make.udp(full(20, 400), {}, (i) => ({ noChecksum: i % 3 === 1 })),
    },
    { kind: 'IPv4 options, TCP', packets: make.tcp(full(20, 700), { ipOptions: alert }) },
    { kind: 'IPv4 options, UDP', packets: make.udp(full(20, 700), { ipOptions: route }) },
    { kind: 'IPv4 fragments of UDP', packets: fragments(fragmented) },
    { kind: 'IPv4 fragments of TCP', packets: fragments(tcpFragmented) },
  ];
}

function sixOnly(make: Maker): Draft[] {
  const padded = (protocol: number, length: number) => {
    const extension = new Uint8Array(length);
    extension[1] = length / 8 - 1;
    extension.set([1, length - 4], 2); // PadN over the rest
    return { protocol, bytes: extension };
  };
  // Type 4 (RFC 8754) with nothing left, and type 2 (RFC 6275) still to be followed.
  const routing = (type: number, left: number) => {
    const header = new Uint8Array(24);
    header.set([0, 2, type, left, 0, 0, 0, 0]);
    header.set(parseIp('fd00::99').bytes, 8);
    return { protocol: Protocol.Routing, bytes: header };
  };
  const fragment = (offset: number, more: boolean, id: number) => {
    const word = offset | (more ? 1 : 0);
    return { protocol: Protocol.Fragment, bytes: Uint8Array.of(0, 0, word >> 8, word & 255, 0, 0, 0, id) };
  };
  const hop = padded(Protocol.HopByHop, 8);
  const destination = padded(Protocol.DestinationOptions, 16);
  return [
    { kind: 'IPv6 hop-by-hop, TCP', packets: make.tcp(full(20, 700), { extensions: [hop] }) },
    {
      kind: 'IPv6 destination options, UDP',
      packets: make.udp(full(20, 700), { extensions: [destination] }),
    },
    {
      kind: 'IPv6 destination options on some',
      packets: make.tcp(full(12, 700), {}, (i) => (i % 3 ? { extensions: [destination] } : {})),
    },
    { kind: 'IPv6 routing done, TCP', packets: make.tcp(full(20, 700), { extensions: [routing(4, 0)] }) },
    { kind: 'IPv6 routing to go, TCP', packets: make.tcp(full(20, 700), { extensions: [routing(2, 1)] }) },
    { kind: 'IPv6 routing to go, UDP', packets: make.udp(full(20, 700), { extensions: [routing(2, 1)] }) },
    {
      kind: 'IPv6 all three',
      packets: make.tcp(full(9, 700), { extensions: [hop, routing(4, 0), destination] }),
    },
    {
      kind: 'IPv6 fragments',
      packets: times(6, (i) => make.udp([1200], { extensions: [fragment(i * 1208, i < 5, 9)] })[0]!),
    },
    {
      kind: 'IPv6 atomic fragments',
      packets: make.tcp(full(8, 700), { extensions: [fragment(0, false, 7)] }),
    },
    {
      kind: 'IPv6 flow label changes',
      packets: make.tcp(full(10, 700), {}, (i) => ({ flowLabel: i > 5 ? 0xabcde : 7 })),
    },
    { kind: 'IPv6 flow label, UDP', packets: make.udp(full(10, 700), { flowLabel: 0xfffff }) },
    { kind: 'IPv6 no next header', packets: [make.other(Protocol.NoNextHeader, 16)] },
  ];
}

/** Each pair the wrong way round, and one from the front at the end. */
function shuffled(packets: Uint8Array[]): Uint8Array[] {
  const pairs = packets.map((_, i) => packets[i ^ 1] ?? packets[i]!);
  return [...pairs.slice(0, 2), ...pairs.slice(3), pairs[2]!];
}

const finished = (drafts: readonly Draft[]): Kind[] =>
  drafts.map((each) => ('flows' in each ? each : { ...each, flows: [each.packets] }));

/** IP packets of all kinds from one host to another. */
export function ipKinds(between: Between): Kind[] {
  const make = new Maker(between);
  return finished([
    ...common(make, between),
    ...(between.family === 4 ? fourOnly(make, between) : sixOnly(make)),
  ]);
}

/** The same in Ethernet frames, and what only frames can be. `source` and `destination` are MAC addresses. */
export function frameKinds(between: Between, source: string, destination: string): Kind[] {
  const type = between.family === 4 ? EtherType.Ipv4 : EtherType.Ipv6;
  const frame = (packet: Uint8Array, tags: ethernet.VlanTag[] = [], trailer = 0) => {
    const header = { source, destination, tags, type };
    const at = ethernet.emitLength(header);
    const whole = new Uint8Array(at + packet.length + trailer);
    ethernet.emit(header, whole);
    whole.set(packet, at);
    return whole;
  };
  const make = new Maker(between, 9000);
  const framed = ipKinds(between).map(({ flows, ...kind }) => ({
    ...kind,
    flows: flows.map((flow) => flow.map((packet) => frame(packet))),
  }));
  const tagged = [
    { id: 7, type: EtherType.ServiceVlan },
    { id: 8, priority: 5 },
  ];
  return finished([
    ...framed,
    { kind: 'padded to 60 bytes', packets: make.tcp([0, 1, 1, 1, 0]).map((each) => frame(each, [], 6)) },
    { kind: 'one VLAN tag', packets: make.tcp(full(16, 700)).map((each) => frame(each, [{ id: 7 }])) },
    { kind: 'two VLAN tags', packets: make.udp(full(16, 700)).map((each) => frame(each, tagged)) },
    {
      kind: 'VLAN tags that change',
      packets: make.udp(full(16, 600)).map((each, i) => frame(each, [{ id: 10 + (i & 1) }])),
      // Two networks, and so two flows.
      ordered: false,
    },
  ]);
}

/** Kinds one after the other, the flows of each interleaved. */
export const inSendingOrder = (kinds: readonly Kind[]): Uint8Array[] =>
  kinds.flatMap(({ flows }) =>
    times(Math.max(...flows.map((flow) => flow.length)), (i) =>
      flows.map((flow) => flow[i]).filter((packet) => packet !== undefined),
    ).flat(),
  );
