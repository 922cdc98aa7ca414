import { describe, expect, it } from 'vitest';
import * as packet from '../../src/packet/index.ts';

const { arp, ethernet, icmp, icmpv6, ip, ipv4, ipv6, tcp, udp, Problem, Protocol } = packet;

/** xorshift32: the same mutations every time. */
function randomStream(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const fragment = { protocol: Protocol.Fragment, bytes: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 7) };
const options = {
  protocol: Protocol.DestinationOptions,
  bytes: Uint8Array.of(0, 1, 1, 12, ...new Uint8Array(12)),
};
const routing = {
  protocol: Protocol.Routing,
  bytes: Uint8Array.of(0, 2, 4, 1, 0, 0, 0, 0, ...packet.parseIp('fd00::9').bytes),
};
const hosts = { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02', tags: [{ id: 7 }] };
const tcpOptions = { mss: 1460, sackPermitted: true, timestamps: { value: 1, echo: 2 }, windowScale: 7 };

function errorAbout(offender: Uint8Array): Uint8Array {
  const into = new Uint8Array(1280);
  const source = packet.parseIp(offender[0] >> 4 === 4 ? '192.0.2.1' : '2001:db8::1').bytes;
  return into.slice(0, packet.timeExceeded(offender, 0, offender.length, source, 0, into, 0));
}

/** What a network carries; the frames among them are read as IP too, and the other way round. */
const CORPUS = [
  packet.udpPacket({ to: '10.0.0.2:53', payload: 30 }),
  packet.udpPacket({
    to: '10.0.0.2:53',
    payload: 40,
    ipOptions: Uint8Array.of(148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 1),
  }),
  packet.udpPacket({ to: '[fd00::2]:53', payload: 30, extensions: [options, fragment] }),
  packet.tcpPacket({ to: '10.0.0.2:80', flags: tcp.Flag.Syn, tcpOptions }),
  packet.tcpPacket({ to: '10.0.0.2:80', payload: 70, ethernet: hosts }),
  packet.tcpPacket({ to: '[fd00::2]:80', payload: 70, tcpOptions, extensions: [routing] }),
  packet.icmpEcho({ to: '10.0.0.2', payload: 20 }),
  packet.icmpEcho({ to: 'fd00::2', payload: 20 }),
  errorAbout(packet.udpPacket({ to: '10.0.0.2:53', payload: 30 })),
  errorAbout(packet.tcpPacket({ to: '[fd00::2]:80', payload: 30, extensions: [options] })),
  Uint8Array.of(...[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]),
  packet.ipPacket({
    from: packet.parseIp('fe80::1'),
    to: packet.parseIp('ff02::1'),
    protocol: Protocol.Icmpv6,
    transport: Uint8Array.of(134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 5, 0xdc),
  }),
];

const key = new Int32Array(packet.KEY_CELLS);
const plan = new Int32Array(packet.PLAN_CELLS);
const INTO = new Uint8Array(2048);
const SOURCE = packet.parseIp('2001:db8::1').bytes;

/** Everything of the hot tier that reads: the numbers it finds. */
function readAll(bytes: Uint8Array, at: number, end: number, found: number[]): void {
  found.push(ethernet.check(bytes, at, end));
  if (found.at(-1) === Problem.None) {
    found.push(
      ethernet.payload(bytes, at, end),
      ethernet.tagCount(bytes, at, end),
      ethernet.etherType(bytes, at),
    );
  }
  found.push(arp.check(bytes, at, end), udp.check(bytes, at, end), icmp.check(bytes, at, end));
  found.push(packet.flowKey(bytes, at, end, key, 1));
  if (found.at(-1)! >= 0) found.push(...key);
  found.push(tcp.check(bytes, at, end));
  if (found.at(-1) === Problem.None) {
    found.push(
      tcp.checkOptions(bytes, at),
      tcp.findOption(bytes, at, tcp.Option.Mss, 4),
      tcp.window(bytes, at),
    );
  }
  found.push(icmpv6.check(bytes, at, end));
  if (found.at(-1) === Problem.None) found.push(icmpv6.ndOption(bytes, at, end, icmpv6.NdOption.Mtu));
  found.push(packet.fragmentCount(bytes, at, end, 68));
  for (const gso of [packet.Gso.TcpV4, packet.Gso.TcpV6, packet.Gso.Udp]) {
    found.push(packet.planSegments(bytes, at, end - at, 0, gso, 16, plan));
  }
  found.push(ip.check(bytes, at, end));
  if (found.at(-1) !== Problem.None) return;
  found.push(ip.upper(bytes, at), ip.totalLength(bytes, at), ip.hopLimit(bytes, at), packet.ecnOf(bytes, at));
  found.push(packet.verifyTransport(bytes, at));
  if (ip.version(bytes, at) === 4) {
    found.push(
      ipv4.checkOptions(bytes, at),
      Number(ipv4.checksumOk(bytes, at)),
      ipv4.fragmentOffset(bytes, at),
    );
  } else {
    found.push(ipv6.findExtension(bytes, at, end, Protocol.Fragment), ipv6.finalDestination(bytes, at, end));
  }
}

/** Everything that writes: into other bytes, and at last into the packet itself. */
function writeAll(bytes: Uint8Array, at: number, end: number, found: number[]): void {
  const fingerprint = (length: number) => found.push(length, packet.sum(INTO, 0, Math.max(0, length)));
  fingerprint(packet.tooBig(bytes, at, end, 1280, SOURCE, 0, INTO, 0));
  fingerprint(packet.timeExceeded(bytes, at, end, SOURCE, 0, INTO, 0));
  fingerprint(packet.unreachable(bytes, at, end, packet.UnreachableReason.Port, SOURCE, 0, INTO, 0));
  for (const gso of [packet.Gso.TcpV4, packet.Gso.TcpV6, packet.Gso.Udp]) {
    const count = packet.planSegments(bytes, at, end - at, 0, gso, 16, plan);
    for (let i = 0; i < count; i++) fingerprint(packet.emitSegment(bytes, at, plan, i, INTO, 0));
  }
  const pieces = packet.fragmentCount(bytes, at, end, 68);
  for (let i = 0; pieces > 1 && i < pieces; i++)
    fingerprint(packet.emitFragment(bytes, at, end, 68, i, INTO, 0));
  if (tcp.check(bytes, at, end) === Problem.None) found.push(Number(tcp.clampMss(bytes, at, 500)));
  if (ip.check(bytes, at, end) !== Problem.None) return;
  found.push(Number(packet.decrementTtl(bytes, at)), Number(packet.applyOuterEcn(bytes, at, packet.Ecn.Ce)));
  found.push(Number(packet.fillTransport(bytes, at)));
}

/** The value tier: undefined or a value, never an exception. */
function parseAll(bytes: Uint8Array, at: number, end: number): unknown[] {
  return [
    ...[ethernet, arp, ipv4, ipv6, tcp, udp, icmp, icmpv6].map((codec) => codec.parse(bytes, at, end)),
    ipv6.extensions(bytes, at, end),
    icmpv6.parseNd(bytes, at, end),
    packet.flowOf(bytes, at, end),
    packet.describePacket(bytes, at, end - at, 2),
    packet.describePacket(bytes, at, end - at, 3),
  ];
}

/** Flips bits, sets interesting bytes, cuts, joins. */
function mutate(random: (below: number) => number): Uint8Array {
  const bytes = CORPUS[random(CORPUS.length)].slice();
  for (let n = random(4); n > 0; n--) {
    const where = random(3) === 0 ? random(bytes.length) : random(Math.min(bytes.length, 60));
    if (random(2) === 0) bytes[where] ^= 1 << random(8);
    else bytes[where] = [0, 1, 44, 43, 51, 60, 0x45, 0x60, 127, 128, 254, 255][random(12)];
  }
  if (random(3) > 0) return bytes;
  const cut = bytes.subarray(0, random(bytes.length + 1));
  return random(4) > 0 ? cut : cut.subarray(random(cut.length + 1));
}

const GUARD = 70;

/** The packet with `filler` around it. */
function surround(bytes: Uint8Array, filler: number): Uint8Array {
  const whole = new Uint8Array(GUARD + bytes.length + GUARD).fill(filler);
  whole.set(bytes, GUARD);
  return whole;
}

describe('100 000 mutated packets', () => {
  it('are read without an exception, and nothing beyond their end matters', () => {
    const random = randomStream(0x1234567);
    const failures: string[] = [];
    for (let n = 0; n < 100_000; n++) {
      const bytes = mutate(random);
      // If a function read around the packet, the two would differ.
      const [a, b] = [surround(bytes, 0x00), surround(bytes, 0xff)];
      const end = GUARD + bytes.length;
      const [foundA, foundB]: number[][] = [[], []];
      readAll(a, GUARD, end, foundA);
      readAll(b, GUARD, end, foundB);
      writeAll(a, GUARD, end, foundA);
      writeAll(b, GUARD, end, foundB);
      const same = foundA.length === foundB.length && foundA.every((value, i) => value === foundB[i]);
      const whole = foundA.every((value) => Number.isInteger(value));
      const kept =
        a.every((byte, i) => (i >= GUARD && i < end ? byte === b[i] : byte === 0)) &&
        b.every((byte, i) => (i >= GUARD && i < end) || byte === 0xff);
      // One comparison per packet: a hundred thousand calls of expect take longer than the work.
      if (!same || !whole || !kept) failures.push(Buffer.from(bytes).toString('hex'));
    }
    expect(failures).toEqual([]);
  }, 60_000);

  it('become values or undefined, and lines for people', () => {
    const random = randomStream(0x7654321);
    const failures: string[] = [];
    let values = 0;
    for (let n = 0; n < 20_000; n++) {
      const bytes = mutate(random);
      const end = GUARD + bytes.length;
      const found = JSON.stringify(parseAll(surround(bytes, 0), GUARD, end));
      if (found !== JSON.stringify(parseAll(surround(bytes, 0xff), GUARD, end))) {
        failures.push(Buffer.from(bytes).toString('hex'));
      }
      if (found.includes('{')) values++;
    }
    expect(failures).toEqual([]);
    expect(values).toBeGreaterThan(10_000);
  }, 60_000);

  it('that end where their memory ends give whole numbers: nothing undefined was read', () => {
    const random = randomStream(0x1357);
    const failures: string[] = [];
    for (let n = 0; n < 20_000; n++) {
      const bytes = mutate(random);
      const found: number[] = [];
      readAll(bytes, 0, bytes.length, found);
      writeAll(bytes.slice(), 0, bytes.length, found);
      if (!found.every((value) => Number.isInteger(value))) {
        failures.push(Buffer.from(bytes).toString('hex'));
      }
    }
    expect(failures).toEqual([]);
    expect(ip.check(CORPUS[0], 0, CORPUS[0].length + 1)).toBe(Problem.Truncated);
  }, 60_000);
});
