import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  completeChecksum,
  emitSegment,
  ethernet,
  Gso,
  ip,
  ipv4,
  ipv6,
  PLAN_CELLS,
  Problem,
  Protocol,
  planSegments,
  pseudoSum,
  put16,
  segmentLength,
  tcp,
  tcpPacket,
  udp,
  udpPacket,
  Verdict,
  verifyTransport,
} from '../../src/packet/index.ts';

interface Shape {
  version: 4 | 6;
  udp: boolean;
  payload: number;
  size: number;
  tags: number;
  flags: number;
  sequence: number;
  identification: number;
  options: number;
}

const shapes = fc.record<Shape>({
  version: fc.constantFrom(4, 6),
  udp: fc.boolean(),
  payload: fc.integer({ min: 1, max: 5000 }),
  size: fc.integer({ min: 1, max: 2000 }).map((size) => Math.max(size, 40)),
  tags: fc.integer({ min: -1, max: 2 }),
  flags: fc.nat(255),
  sequence: fc.oneof(fc.nat(0xffffffff), fc.integer({ min: 0xfffff000, max: 0xffffffff })),
  identification: fc.oneof(fc.nat(0xffff), fc.constant(0xffff)),
  options: fc.nat(3),
});

const endpoints = (version: 4 | 6) =>
  version === 4
    ? { from: '10.0.0.1:40000', to: '10.0.0.2:80' }
    : { from: '[2001:db8::1]:40000', to: '[2001:db8::2]:80' };

/** A superframe as a TUN or TAP hands it over: with nothing but the pseudo-header's sum in the checksum field. */
function superframe(shape: Shape) {
  const common = {
    ...endpoints(shape.version),
    payload: Uint8Array.from({ length: shape.payload }, (_, i) => (i * 31) ^ (i >> 8)),
    identification: shape.identification,
    ipOptions: shape.version === 4 ? new Uint8Array(4 * shape.options).fill(1) : undefined,
    extensions:
      shape.version === 6 && shape.options > 0
        ? [{ protocol: Protocol.DestinationOptions, bytes: Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0) }]
        : undefined,
    ethernet:
      shape.tags < 0
        ? undefined
        : {
            source: '02:00:00:00:00:01',
            destination: '02:00:00:00:00:02',
            tags: Array.from({ length: shape.tags }, (_, i) => ({ id: i + 5, priority: 3 })),
          },
  };
  const bytes = shape.udp
    ? udpPacket(common)
    : tcpPacket({
        ...common,
        flags: shape.flags,
        sequence: shape.sequence,
        tcpOptions: shape.options > 1 ? { timestamps: { value: 7, echo: 9 } } : {},
      });
  const l3Offset = shape.tags < 0 ? 0 : ethernet.HEADER + 4 * shape.tags;
  const upper = ip.upper(bytes, l3Offset);
  const transport = l3Offset + ((upper >>> 8) & 0x1ffff);
  const protocol = shape.udp ? Protocol.Udp : Protocol.Tcp;
  const pseudo = pseudoSum(bytes, l3Offset, bytes.length, protocol, bytes.length - transport);
  put16(bytes, transport + (shape.udp ? udp.CHECKSUM : tcp.CHECKSUM), pseudo);
  const gsoType = shape.udp ? Gso.Udp : shape.version === 4 ? Gso.TcpV4 : Gso.TcpV6;
  return { bytes, l3Offset, transport, gsoType };
}

/** Cuts by the value tier: parses the headers, edits the values, and emits them anew. */
function slowSegments(shape: Shape): Uint8Array[] {
  const { bytes, l3Offset, transport } = superframe(shape);
  const payloadAt = shape.udp ? transport + 8 : transport + tcp.headerLength(bytes, transport);
  const count = Math.ceil(shape.payload / shape.size);
  return Array.from({ length: count }, (_, i) => {
    const payload = bytes.slice(
      payloadAt + i * shape.size,
      Math.min(bytes.length, payloadAt + (i + 1) * shape.size),
    );
    const common = {
      ...endpoints(shape.version),
      payload,
      identification: (shape.identification + i) & 0xffff,
      ipOptions: shape.version === 4 ? new Uint8Array(4 * shape.options).fill(1) : undefined,
      extensions: shape.version === 6 ? ipv6.extensions(bytes, l3Offset) : undefined,
    };
    let flags = shape.flags;
    if (i > 0) flags &= ~tcp.Flag.Cwr;
    if (i < count - 1) flags &= ~(tcp.Flag.Fin | tcp.Flag.Psh);
    const packet = shape.udp
      ? udpPacket(common)
      : tcpPacket({
          ...common,
          flags,
          sequence: (shape.sequence + i * shape.size) % 2 ** 32,
          tcpOptions: tcp.parse(bytes, transport)!.options,
        });
    const whole = new Uint8Array(l3Offset + packet.length);
    whole.set(bytes.subarray(0, l3Offset));
    whole.set(packet, l3Offset);
    return whole;
  });
}

describe('segmentation', () => {
  it('makes the wire packets that building each one anew makes', () => {
    fc.assert(
      fc.property(shapes, fc.nat(50), (shape, headroom) => {
        const { bytes, l3Offset, gsoType } = superframe(shape);
        const frame = new Uint8Array(headroom + bytes.length + 3);
        frame.set(bytes, headroom);
        const plan = new Int32Array(PLAN_CELLS);
        const count = planSegments(frame, headroom, bytes.length, l3Offset, gsoType | 0x80, shape.size, plan);
        const expected = slowSegments(shape);
        expect(count).toBe(expected.length);
        const before = frame.slice();
        const into = new Uint8Array(10_000).fill(0xee);
        for (const [i, packet] of expected.entries()) {
          const length = emitSegment(frame, headroom, plan, i, into, 17);
          expect(length).toBe(segmentLength(plan, i));
          expect(into.slice(17, 17 + length)).toEqual(packet);
          expect(into[16]).toBe(0xee);
          expect(verifyTransport(into, 17 + l3Offset)).toBe(Verdict.Right);
          if (shape.version === 4) expect(ipv4.checksumOk(into, 17 + l3Offset)).toBe(true);
        }
        expect(frame).toEqual(before);
      }),
      { seed: 1, numRuns: 400 },
    );
  });

  it('cuts 64 KiB into 45 packets of a 1500 byte MTU', () => {
    const shape: Shape = {
      version: 4,
      udp: false,
      payload: 65000,
      size: 1448,
      tags: -1,
      flags: tcp.Flag.Ack | tcp.Flag.Psh,
      sequence: 0xffffff00,
      identification: 0xfff0,
      options: 2,
    };
    const { bytes, gsoType } = superframe(shape);
    const plan = new Int32Array(PLAN_CELLS);
    expect(planSegments(bytes, 0, bytes.length, 0, gsoType, 1448, plan)).toBe(45);
    const into = new Uint8Array(2000);
    const length = emitSegment(bytes, 0, plan, 44, into, 0);
    const { sequence, flags } = tcp.parse(into, 28, length)!;
    expect([length, sequence, flags]).toEqual([
      28 + 32 + 65000 - 44 * 1448,
      (0xffffff00 + 44 * 1448) % 2 ** 32,
      0x18,
    ]);
    expect(ipv4.identification(into, 0)).toBe((0xfff0 + 44) & 0xffff);
  });

  it('refuses what does not fit its description', () => {
    const plan = new Int32Array(PLAN_CELLS);
    const v4 = tcpPacket({ to: '10.0.0.2:80', payload: 3000 });
    const v6 = tcpPacket({ to: '[fd00::2]:80', payload: 3000 });
    const of = (bytes: Uint8Array, gsoType: number, size = 1000, l3Offset = 0, length = bytes.length) =>
      planSegments(bytes, 0, length, l3Offset, gsoType, size, plan);
    expect(of(v4, Gso.TcpV4)).toBe(3);
    expect(of(v4, Gso.TcpV6)).toBe(-Problem.Version);
    expect(of(v6, Gso.TcpV4)).toBe(-Problem.Version);
    expect(of(v4, Gso.Udp)).toBe(-Problem.Protocol);
    expect(of(v4, Gso.None)).toBe(-Problem.Protocol);
    expect(of(v4, 3)).toBe(-Problem.Protocol);
    expect(of(v4, Gso.TcpV4, 0)).toBe(-Problem.Length);
    expect(of(v4, Gso.TcpV4, -5)).toBe(-Problem.Length);
    expect(of(v4, Gso.TcpV4, 70_000)).toBe(-Problem.Length);
    expect(of(v4, Gso.TcpV4, 1000, 0, 40)).toBe(-Problem.Truncated);
    expect(of(v4, Gso.TcpV4, 1000, 0, 30)).toBe(-Problem.Truncated);
    expect(of(v4, Gso.TcpV4, 1000, 4000)).toBe(-Problem.Truncated);
    expect(of(v4, Gso.TcpV4, 1000, 0, v4.length + 1)).toBe(-Problem.Truncated);
    const long = v4.slice();
    long[20 + tcp.DATA_OFFSET] = 0x40;
    expect(of(long, Gso.TcpV4)).toBe(-Problem.HeaderLength);
    const fragment = v4.slice();
    ipv4.setFragment(fragment, 0, ipv4.MORE_FRAGMENTS);
    expect(of(fragment, Gso.TcpV4)).toBe(-Problem.Protocol);
    const authenticated = tcpPacket({
      to: '[fd00::2]:80',
      payload: 3000,
      extensions: [{ protocol: Protocol.Ah, bytes: new Uint8Array(16).fill(2, 1, 2) }],
    });
    expect(of(authenticated, Gso.TcpV6)).toBe(-Problem.Protocol);
  });
});

describe('an open checksum', () => {
  it.each([4, 6] as const)('is completed for IPv%i, TCP and UDP', (version) => {
    for (const overUdp of [false, true]) {
      const shape: Shape = {
        ...{ version, udp: overUdp, payload: 99, size: 99, tags: -1, flags: 16 },
        ...{ sequence: 1, identification: 1, options: 0 },
      };
      const { bytes, transport } = superframe(shape);
      expect(verifyTransport(bytes, 0)).toBe(Verdict.Wrong);
      const field = overUdp ? udp.CHECKSUM : tcp.CHECKSUM;
      expect(completeChecksum(bytes, 0, bytes.length, transport, field)).toBe(true);
      expect(verifyTransport(bytes, 0)).toBe(Verdict.Right);
    }
  });

  it('outside the packet is refused', () => {
    const bytes = new Uint8Array(40);
    expect(completeChecksum(bytes, 0, 40, 33, 6)).toBe(false);
    expect(completeChecksum(bytes, 0, 40, -1, 6)).toBe(false);
    expect(completeChecksum(bytes, 0, 40, 32, 6)).toBe(true);
  });
});
