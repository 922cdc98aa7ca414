import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TunconnectorError } from '../../src/errors.ts';
import { LinkType } from '../../src/packet/capture.ts';
import { CaptureReader, readCapture } from '../../src/packet/capture-reader.ts';
import { PcapWriter } from '../../src/packet/pcap.ts';
import { PcapngWriter } from '../../src/packet/pcapng.ts';
import { collect, fields, join, readAll } from './pcap-helpers.ts';

const utf8 = (text: string) => new TextEncoder().encode(text);
const captureError = (text: string) =>
  expect.objectContaining({ code: 'ERR_CAPTURE', message: expect.stringContaining(text) });

describe.each([
  ['little-endian', true],
  ['big-endian', false],
])('a %s pcapng file', (_, little) => {
  const { u16, u32, u64, padded, option, block, section } = fields(little);
  const idb = (linkType: number, snap: number, ...options: Uint8Array[]) =>
    block(1, u16(linkType), u16(0), u32(snap), ...options);
  const epb = (id: number, ticks: bigint, data: Uint8Array, ...options: Uint8Array[]) =>
    block(
      6,
      ...[u32(id), u32(Number(ticks >> 32n)), u32(Number(ticks & 0xffff_ffffn))],
      ...[u32(data.length), u32(data.length), padded(data), ...options],
    );

  it('has times in the resolution of each interface, to the nanosecond', () => {
    const cases: [number | undefined, bigint, number, number][] = [
      [undefined, 1_793_577_600_123_456n, 1_793_577_600, 123_456_000],
      [9, 1_793_577_600_123_456_789n, 1_793_577_600, 123_456_789],
      [9, 0xffff_ffff_ffff_ffffn, 18_446_744_073, 709_551_615],
      [6, 1_793_577_600_999_999n, 1_793_577_600, 999_999_000],
      [3, 1_793_577_600_123n, 1_793_577_600, 123_000_000],
      [0, 1_793_577_600n, 1_793_577_600, 0],
      [12, 17_935_776_001_234_567_899n, 17_935_776, 1_234_567],
      [0x80 | 10, 1_793_577_600n * 1024n + 512n, 1_793_577_600, 500_000_000],
      [0x80 | 32, (1_793_577_600n << 32n) | 0x4000_0000n, 1_793_577_600, 250_000_000],
    ];
    const file = join([
      section(),
      ...cases.map(([value]) => idb(1, 0, ...(value === undefined ? [] : [option(9, Uint8Array.of(value))]))),
      ...cases.map(([, ticks], id) => epb(id, ticks, Uint8Array.of(id))),
    ]);
    expect(readAll(file).map((each) => [each.seconds, each.nanoseconds])).toEqual(
      cases.map(([, , seconds, nanoseconds]) => [seconds, nanoseconds]),
    );
  });

  it('agrees with arithmetic on bigints for every decimal resolution', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        (digits, ticks) => {
          const file = join([
            section(),
            idb(1, 0, option(9, Uint8Array.of(digits))),
            epb(0, ticks, utf8('x')),
          ]);
          const perSecond = 10n ** BigInt(digits);
          const seconds = ticks / perSecond;
          if (seconds > BigInt(Number.MAX_SAFE_INTEGER)) {
            expect(() => readAll(file)).toThrow(captureError('time out of range'));
            return;
          }
          const [record] = readAll(file);
          expect([BigInt(record!.seconds), BigInt(record!.nanoseconds)]).toEqual([
            seconds,
            ((ticks % perSecond) * 1_000_000_000n) / perSecond,
          ]);
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });

  it('adds the offset of an interface in seconds', () => {
    const options = [option(9, Uint8Array.of(9)), option(14, u64(-5n))];
    const file = join([section(), idb(1, 0, ...options), epb(0, 7_000_000_001n, utf8('x'))]);
    expect(readAll(file)[0]).toMatchObject({ seconds: 2, nanoseconds: 1 });
  });

  it('has names, filters that are passed over, several comments, and flags', () => {
    const file = join([
      section(),
      idb(
        101,
        96,
        option(2, utf8('tun0')),
        option(11, utf8('\0ip and tcp')),
        option(3, utf8('left')),
        u32(0),
      ),
      epb(
        0,
        1n,
        utf8('abcde'),
        option(1, utf8('one')),
        option(5, u64(9n)),
        option(1, utf8('zwö')),
        option(2, u32(2)),
      ),
    ]);
    expect(readAll(file)[0]).toMatchObject({
      interface: { id: 0, linkType: LinkType.Raw, snapLength: 96, name: 'tun0', description: 'left' },
      bytes: utf8('abcde'),
      comments: ['one', 'zwö'],
      flags: 2,
    });
  });

  it('has simple packets cut to the snap length, at the time of the packet before them', () => {
    const simple = block(3, u32(9), utf8('abcd'));
    const file = join([section(), idb(1, 4), simple, epb(0, 3_000_001n, utf8('xy')), simple]);
    expect(readAll(file)).toMatchObject([
      { timed: false, timeNs: 0, bytes: utf8('abcd'), originalLength: 9 },
      { timed: true, timeNs: 0, seconds: 3, nanoseconds: 1000 },
      { timed: false, timeNs: 0, seconds: 3, nanoseconds: 1000 },
    ]);
  });

  it('has packet blocks of the older kind', () => {
    const old = block(
      2,
      u16(0),
      u16(3),
      u32(0),
      u32(5),
      u32(2),
      u32(60),
      padded(utf8('ab')),
      option(1, utf8('c')),
    );
    expect(readAll(join([section(), idb(1, 0), old]))).toMatchObject([
      { nanoseconds: 5000, bytes: utf8('ab'), originalLength: 60, comments: ['c'] },
    ]);
  });

  it('has other blocks that are passed over: names, custom, statistics, and unknown ones', () => {
    const names = block(4, u16(1), u16(8), u32(1), utf8('a.b\0'), u16(0), u16(0));
    const custom = block(0x0bad, u32(32_473), utf8('anything'));
    const statistics = block(5, u32(0), u64(0n), option(4, u64(10n)), option(5, u64(3n)));
    const unknown = block(0x7fff_1234, utf8('anything'));
    const file = join([section(), names, idb(1, 0), custom, unknown, epb(0, 1n, utf8('x')), statistics]);
    const [record, ...rest] = readAll(file);
    expect(rest).toEqual([]);
    expect(record!.interface).toMatchObject({ received: 10, dropped: 3 });
  });

  it('starts its interfaces again with each section, also in the other byte order', () => {
    const other = fields(!little);
    const otherIdb = other.block(
      1,
      other.u16(113),
      other.u16(0),
      other.u32(0),
      other.option(2, utf8('second')),
    );
    const otherEpb = other.block(
      6,
      other.u32(0),
      other.u64(0n),
      other.u32(1),
      other.u32(1),
      other.padded(utf8('z')),
    );
    const file = join([
      section(),
      idb(1, 0, option(2, utf8('first'))),
      epb(0, 1n, utf8('x')),
      ...[other.section(), otherIdb, otherEpb],
    ]);
    const records = readAll(file);
    expect(records.map((each) => each.interface.name)).toEqual(['first', 'second']);
    expect(records.map((each) => each.interface.id)).toEqual([0, 0]);
  });

  it.each<[string, Uint8Array, string]>([
    [
      'an enhanced packet without a body',
      join([section(), block(6)]),
      'at offset 36: a block body of 0 bytes',
    ],
    ['a length below 12', join([section(), u32(6), u32(8), u32(8)]), 'at offset 32: a block of 8 bytes'],
    [
      'a length that is no multiple of 4',
      join([section(), u32(6), u32(13), u32(0)]),
      'at offset 32: a block of 13',
    ],
    [
      'a length of 4 GiB',
      join([section(), u32(6), u32(0xffff_fffc), u32(0)]),
      'a block of 4294967292 bytes, more than',
    ],
    [
      'two lengths that differ',
      join([section(), u32(9), u32(12), u32(16)]),
      'a block of 12 bytes ends as one of 16',
    ],
    [
      'a packet larger than its block',
      join([section(), idb(1, 0), block(6, u32(0), u64(0n), u32(9), u32(9))]),
      'larger',
    ],
    [
      'a packet of 1 MiB',
      join([section(), idb(1, 0), block(6, u32(0), u64(0n), u32(1 << 20), u32(9))]),
      '1048576 bytes',
    ],
    [
      'an interface that is not declared',
      join([section(), epb(0, 0n, utf8('x'))]),
      'interface 0, but 0 are declared',
    ],
    [
      'an option larger than its block',
      join([section(), block(1, u32(1), u32(0), u16(2), u16(99))]),
      'an option of 99',
    ],
    [
      'a version of the future',
      block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(2), u16(0), u64(-1n)),
      'pcapng version 2',
    ],
    [
      'a wrong byte-order magic',
      block(0x0a0d0d0a, u32(0x1a2b3c4e), u16(1), u16(0), u64(-1n)),
      'byte-order magic',
    ],
    ['an offset of ages', join([section(), idb(1, 0, option(14, u64(1n << 62n)))]), 'if_tsoffset'],
  ])('is refused for %s', (_, file, message) => {
    expect(() => readAll(file)).toThrow(captureError(message));
  });
});

describe.each([
  ['little-endian', true],
  ['big-endian', false],
])('a %s pcap file', (_, little) => {
  const { u16, u32 } = fields(little);
  const header = (magic: number, link = 1, version = 4) =>
    join([u32(magic), u16(2), u16(version), u32(0), u32(0), u32(65_535), u32(link)]);
  const packet = (seconds: number, fraction: number, data: string, wire = data.length) =>
    join([u32(seconds), u32(fraction), u32(data.length), u32(wire), utf8(data)]);

  it('has microseconds or nanoseconds as its magic number says', () => {
    const micro = join([header(0xa1b2c3d4), packet(4_000_000_000, 999_999, 'ab', 70)]);
    const nano = join([header(0xa1b23c4d, LinkType.Raw), packet(1, 999_999_999, 'abc')]);
    expect(readAll(micro)[0]).toMatchObject({
      ...{ seconds: 4_000_000_000, nanoseconds: 999_999_000, originalLength: 70, interface: { linkType: 1 } },
    });
    expect(readAll(nano)[0]).toMatchObject({
      seconds: 1,
      nanoseconds: 999_999_999,
      interface: { linkType: 101 },
    });
  });

  it('carries a fraction of more than a second', () => {
    const file = join([header(0xa1b2c3d4), packet(1, 2_500_000, '')]);
    expect(readAll(file)[0]).toMatchObject({ seconds: 3, nanoseconds: 500_000_000 });
  });

  it('has a link type without the bits of the frame check sequence', () => {
    expect(readAll(join([header(0xa1b2c3d4, 0x2400_0001), packet(0, 0, 'x')]))[0]!.interface.linkType).toBe(
      1,
    );
  });

  it('is refused for a version or a length that makes no sense', () => {
    expect(() => readAll(header(0xa1b2c3d4, 1, 3))).toThrow(captureError('at offset 4: pcap version 2.3'));
    const huge = join([header(0xa1b2c3d4), u32(0), u32(0), u32(0xffff_ffff), u32(60)]);
    expect(() => readAll(huge)).toThrow(captureError('at offset 32: a packet of 4294967295 bytes'));
  });
});

describe('any capture', () => {
  it('is refused when it is something else, or nothing', () => {
    expect(() => readAll(utf8('GET / HTTP/1.1'))).toThrow(
      captureError('neither pcap nor pcapng: it begins with 0x47455420'),
    );
    expect(() => readAll(new Uint8Array(0))).toThrow(captureError('too short'));
    expect(() => readAll(Uint8Array.of(0xd4, 0xc3))).toThrow(captureError('too short'));
  });

  const sample = () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({
      sink,
      epochNs: 1_793_577_600_000_000_000n,
      comment: 'sample',
      application: 'x',
    });
    writer.addInterface({ name: 'tun0', linkType: LinkType.Raw });
    writer.addInterface({ name: 'eth0', linkType: LinkType.Ethernet, description: 'outside' });
    for (let i = 0; i < 6; i++)
      writer.packet(i & 1, i * 1e6, new Uint8Array(20 + i), 0, 20 + i, 60, `n ${i}`, i & 3);
    writer.end();
    return bytes();
  };
  const classic = () => {
    const { sink, bytes } = collect();
    const writer = new PcapWriter({ sink, linkType: LinkType.Ethernet });
    for (let i = 0; i < 6; i++) writer.packet(0, i * 1e6, new Uint8Array(20 + i), 0, 20 + i, 60);
    writer.end();
    return bytes();
  };

  it('gives the packets before a fault, then the fault, and the same fault ever after', () => {
    const good = sample();
    const reader = new CaptureReader();
    expect(reader.push(join([good, new Uint8Array(16)]))).toHaveLength(6);
    const fault = captureError(`at offset ${good.length + 4}: a block of 0 bytes`);
    expect(() => reader.push(good)).toThrow(fault);
    expect(() => reader.end()).toThrow(fault);
  });

  it('gives them also to an iteration', async () => {
    const seen: number[] = [];
    const iterate = async () => {
      for await (const record of readCapture([sample(), new Uint8Array(16)])) seen.push(record.bytes.length);
    };
    await expect(iterate()).rejects.toThrow(captureError('a block of 0 bytes'));
    expect(seen).toHaveLength(6);
  });

  it('is read or refused with ERR_CAPTURE, however it is mutated, cut and split', () => {
    const mutation = fc.record({
      at: fc.nat(),
      value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 0xff, 0x7f, 0x80, 1, 0x0a)),
    });
    let read = 0;
    let refused = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(sample(), classic()),
        fc.array(mutation, { minLength: 1, maxLength: 8 }),
        fc.nat(),
        fc.integer({ min: 1, max: 700 }),
        (original, mutations, cutAt, step) => {
          const file = original.slice(0, cutAt % 3 === 0 ? cutAt % original.length : original.length);
          for (const { at, value } of mutations) file[at % original.length] = value;
          const reader = new CaptureReader();
          try {
            let bytes = 0;
            for (let at = 0; at < file.length; at += step) {
              for (const record of reader.push(file.slice(at, at + step))) bytes += record.bytes.length;
            }
            reader.end();
            expect(bytes).toBeLessThanOrEqual(file.length);
            read++;
          } catch (error) {
            expect(error).toBeInstanceOf(TunconnectorError);
            expect((error as TunconnectorError).code).toBe('ERR_CAPTURE');
            expect((error as TunconnectorError).message).toMatch(/at offset \d+: /);
            refused++;
          }
        },
      ),
      { seed: 99, numRuns: 20_000 },
    );
    // Both happen, or the mutations are not worth their name.
    expect(read).toBeGreaterThan(500);
    expect(refused).toBeGreaterThan(500);
  });

  it('does not take memory for what a length promises', () => {
    const { u32, section } = fields(true);
    const readers: CaptureReader[] = [];
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 200; i++) {
      const reader = new CaptureReader();
      reader.push(join([section(), u32(6), u32(16 << 20), new Uint8Array(100)]));
      readers.push(reader);
    }
    const grown = process.memoryUsage().arrayBuffers - before;
    expect(readers).toHaveLength(200);
    // 200 promises of 16 MiB each.
    expect(grown).toBeLessThan(4 << 20);
  });

  it('is read byte by byte without copying everything again for each byte', () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink });
    writer.addInterface({ linkType: LinkType.Raw });
    writer.packet(0, 0, new Uint8Array(200_000), 0, 200_000, 200_000);
    writer.end();
    const file = bytes();
    const reader = new CaptureReader();
    let count = 0;
    const started = process.cpuUsage();
    for (let at = 0; at < file.length; at++) count += reader.push(file.subarray(at, at + 1)).length;
    expect(count).toBe(1);
    const { user, system } = process.cpuUsage(started);
    // 0.1 s of CPU; copying all that is held for each of 200 000 bytes would take 4 s.
    expect((user + system) / 1e6).toBeLessThan(2);
  });
});
