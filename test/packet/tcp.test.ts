import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fillTransport, Problem, tcp, tcpPacket, Verdict, verifyTransport } from '../../src/packet/index.ts';

const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);
const options = fc.record(
  {
    mss: u16,
    windowScale: fc.nat(14),
    sackPermitted: fc.constant(true),
    timestamps: fc.record({ value: u32, echo: u32 }),
    sack: fc.array(fc.tuple(u32, u32), { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
);

describe('TCP', () => {
  it('is written as Linux writes a SYN', () => {
    const bytes = new Uint8Array(40);
    const length = tcp.emit(
      {
        sourcePort: 0xc350,
        destinationPort: 80,
        sequence: 0x01020304,
        flags: tcp.Flag.Syn,
        window: 64240,
        options: {
          mss: 1460,
          sackPermitted: true,
          timestamps: { value: 0x11223344, echo: 0 },
          windowScale: 7,
        },
      },
      bytes,
    );
    expect(length).toBe(40);
    expect(Buffer.from(bytes).toString('hex')).toBe(
      'c35000500102030400000000a002faf000000000' + '020405b40402080a112233440000000001030307',
    );
  });

  it('survives emit and parse', () => {
    const headers = fc.record({
      sourcePort: u16,
      destinationPort: u16,
      sequence: u32,
      acknowledgment: u32,
      flags: fc.nat(255),
      window: u16,
      urgent: u16,
      options,
    });
    fc.assert(
      fc.property(headers, fc.nat(5), (header, at) => {
        const length = tcp.emitLength(header);
        fc.pre(length <= tcp.MAX_HEADER);
        const bytes = new Uint8Array(at + length);
        expect(tcp.emit(header, bytes, at)).toBe(length);
        expect(tcp.parse(bytes, at)).toEqual(header);
        expect(tcp.headerLength(bytes, at)).toBe(length);
      }),
      { seed: 1, numRuns: 1000 },
    );
  });

  it('says when options do not fit', () => {
    const sack: [number, number][] = Array.from({ length: 5 }, () => [1, 2]);
    expect(() =>
      tcp.emit({ sourcePort: 1, destinationPort: 2, options: { sack } }, new Uint8Array(99)),
    ).toThrow('TCP options take 44 bytes, 40 fit into a header');
  });

  it('is refused when truncated or malformed', () => {
    const bytes = new Uint8Array(24);
    tcp.emit({ sourcePort: 1, destinationPort: 2, options: { mss: 1000 } }, bytes);
    expect(tcp.check(bytes, 0, 24)).toBe(Problem.None);
    expect(tcp.check(bytes, 0, 23)).toBe(Problem.Truncated);
    expect(tcp.check(bytes, 0, 19)).toBe(Problem.Truncated);
    bytes[21] = 5;
    expect(tcp.check(bytes, 0, 24)).toBe(Problem.None);
    expect(tcp.checkOptions(bytes, 0)).toBe(Problem.Options);
    expect(tcp.parse(bytes)).toBeUndefined();
    // The kind is the last byte of the header, and of the memory.
    bytes.set([1, 1, 1, tcp.Option.Mss], 20);
    expect(tcp.nextOption(bytes, 23, 24)).toBe(-1);
    expect(tcp.checkOptions(bytes, 0)).toBe(Problem.Options);
    bytes[12] = 0x40;
    expect(tcp.check(bytes, 0, 24)).toBe(Problem.HeaderLength);
  });

  it('options of a kind it does not know, or of a wrong length, are passed over', () => {
    const bytes = new Uint8Array(36);
    tcp.emit({ sourcePort: 1, destinationPort: 2 }, bytes);
    bytes[12] = 0x90;
    bytes.set([30, 4, 9, 9, 2, 3, 5, 1, 2, 4, 5, 0xb4, 0, 2, 4, 9], 20);
    expect(tcp.parse(bytes)?.options).toEqual({ mss: 0x5b4 });
    expect(tcp.findOption(bytes, 0, tcp.Option.Mss, 4)).toBe(28);
    expect(tcp.findOption(bytes, 0, tcp.Option.Timestamps, 10)).toBe(-1);
  });

  it('flags read as in tcpdump', () => {
    expect([0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0xc2, 0].map(tcp.flagText)).toEqual([
      ...['S', 'S.', '.', 'P.', 'F.', 'R', 'SEW', 'none'],
    ]);
  });
});

describe('the MSS of a SYN', () => {
  it('is lowered to the path with the checksum kept right, also at an odd place', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('10.0.0.2:80', '[fd00::2]:80'),
        u16,
        u16,
        fc.nat(3),
        (to, mss, limit, shift) => {
          const packet = tcpPacket({
            to,
            flags: tcp.Flag.Syn,
            tcpOptions: { mss, windowScale: 7 },
            payload: 3,
          });
          const at = packet[0] >> 4 === 4 ? 20 : 40;
          // The same eight bytes of options, with the MSS pushed back by no-operations.
          packet.copyWithin(at + 20 + shift, at + 20, at + 24);
          packet.fill(tcp.Option.NoOperation, at + 20, at + 20 + shift);
          packet.fill(tcp.Option.NoOperation, at + 24 + shift, at + 28);
          const whole = tcpPacket({ to, flags: tcp.Flag.Syn });
          expect(whole.length).toBe(at + 20);
          fill(packet, at);
          const changed = tcp.clampMss(packet, at, limit);
          expect(changed).toBe(mss > limit);
          expect(tcp.parse(packet, at)?.options.mss).toBe(Math.min(mss, limit));
          expect(verifyTransport(packet, 0)).toBe(Verdict.Right);
        },
      ),
      { seed: 1, numRuns: 500 },
    );
  });

  it('of other packets, and a SYN without one, stay as they are', () => {
    const still = (options: Parameters<typeof tcpPacket>[0]) => {
      const packet = tcpPacket(options);
      const before = packet.slice();
      expect(tcp.clampMss(packet, 20, 536)).toBe(false);
      expect(packet).toEqual(before);
    };
    still({ to: '10.0.0.2:80', flags: tcp.Flag.Syn });
    still({ to: '10.0.0.2:80', flags: tcp.Flag.Ack, tcpOptions: { mss: 1460 } });
    still({ to: '10.0.0.2:80', flags: tcp.Flag.Syn, tcpOptions: { mss: 500 } });
  });

  it('leaves an open checksum open', () => {
    const packet = tcpPacket({ to: '10.0.0.2:80', flags: tcp.Flag.Syn, tcpOptions: { mss: 1460 } });
    const before = tcp.checksum(packet, 20);
    expect(tcp.clampMss(packet, 20, 1300, true)).toBe(true);
    expect(tcp.checksum(packet, 20)).toBe(before);
  });
});

function fill(packet: Uint8Array, at: number): void {
  expect(tcp.checkOptions(packet, at)).toBe(Problem.None);
  expect(fillTransport(packet, 0)).toBe(true);
}
