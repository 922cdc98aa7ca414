import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CaptureDirection,
  type CaptureWriter,
  type CaptureWriterOptions,
  LinkType,
} from '../../src/packet/capture.ts';
import { CaptureReader, type CaptureReaderOptions, readCapture } from '../../src/packet/capture-reader.ts';
import { PcapWriter } from '../../src/packet/pcap.ts';
import { PcapngWriter } from '../../src/packet/pcapng.ts';
import { collect, join, readAll } from './pcap-helpers.ts';

const EPOCH = 1_793_577_600_123_456_789n;
const seed = 20_251;

interface Written {
  id: number;
  timeNs: number;
  bytes: Uint8Array;
  /** Where the packet stands in a larger array, as in a pool. */
  offset: number;
  extra: number;
  comments: string[];
  flags: number;
}

const packets = fc.array(
  fc.record<Written>({
    id: fc.integer({ min: 0, max: 2 }),
    timeNs: fc.integer({ min: 0, max: 2 ** 52 }),
    bytes: fc.uint8Array({ maxLength: 200 }),
    offset: fc.integer({ min: 0, max: 9 }),
    extra: fc.integer({ min: 0, max: 70_000 }),
    comments: fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { maxLength: 3 }),
    flags: fc.constantFrom(0, 1, 2),
  }),
  { maxLength: 20 },
);

/** Appends each packet from a slab that has other bytes around it. */
function writeAll(writer: CaptureWriter, all: Written[]): void {
  const slab = new Uint8Array(512).fill(0xee);
  for (const { id, timeNs, bytes, offset, extra, comments, flags } of all) {
    slab.set(bytes, offset);
    writer.packet(id, timeNs, slab, offset, bytes.length, bytes.length + extra, comments, flags);
  }
  writer.end();
}

const cut = (file: Uint8Array, at: number[]) => {
  const points = [...new Set(at.map((each) => each % (file.length + 1)))].sort((a, b) => a - b);
  return [0, ...points].map((from, index) => file.slice(from, points[index] ?? file.length));
};

describe('pcapng', () => {
  it('gives back every packet, name, comment, direction and nanosecond, in both byte orders and any chunks', () => {
    fc.assert(
      fc.property(
        packets,
        fc.constantFrom<'little' | 'big'>('little', 'big'),
        fc.array(fc.nat(), { maxLength: 12 }),
        fc.integer({ min: 16, max: 400 }),
        (all, byteOrder, points, bufferSize) => {
          const { sink, bytes } = collect();
          const writer = new PcapngWriter({ sink, epochNs: EPOCH, byteOrder, bufferSize });
          for (const name of ['tun0.out', 'wan é', 'x']) {
            writer.addInterface({
              name,
              linkType: name === 'x' ? LinkType.Ethernet : LinkType.Raw,
              description: 'd',
            });
          }
          writeAll(writer, all);
          const reader = new CaptureReader({ epochNs: EPOCH });
          const records = cut(bytes(), points).flatMap((chunk) => reader.push(chunk));
          reader.end();
          expect(reader.format).toBe('pcapng');
          expect(
            records.map((each) => ({
              name: each.interface.name,
              timeNs: each.timeNs,
              exact: BigInt(each.seconds) * 1_000_000_000n + BigInt(each.nanoseconds),
              bytes: [...each.bytes],
              originalLength: each.originalLength,
              comments: each.comments,
              flags: each.flags,
            })),
          ).toEqual(
            all.map((each) => ({
              name: ['tun0.out', 'wan é', 'x'][each.id],
              timeNs: each.timeNs,
              exact: EPOCH + BigInt(each.timeNs),
              bytes: [...each.bytes],
              originalLength: each.bytes.length + each.extra,
              comments: each.comments,
              flags: each.flags,
            })),
          );
          expect(reader.interfaces.map((each) => each.received)).toEqual(
            [0, 1, 2].map((id) => all.filter((each) => each.id === id).length),
          );
        },
      ),
      { seed, numRuns: 200 },
    );
  });

  it('keeps names, link types, descriptions and the counts of missed packets of each interface', () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink, application: 'test', comment: 'a file' });
    const named = writer.addInterface({ name: 'tun0', linkType: LinkType.Raw, description: 'to the left' });
    const bare = writer.addInterface({ linkType: LinkType.LinuxSll2 });
    writer.packet(
      named,
      0,
      new Uint8Array(40),
      0,
      40,
      40,
      'dropped: no-route (tunnel)',
      CaptureDirection.Inbound,
    );
    writer.addDropped(named, 7);
    writer.end();
    const reader = new CaptureReader();
    const [record] = reader.push(bytes());
    reader.end();
    expect(record).toMatchObject({
      comments: ['dropped: no-route (tunnel)'],
      flags: CaptureDirection.Inbound,
    });
    expect(reader.interfaces[named]).toEqual({
      ...{ id: 0, linkType: 101, name: 'tun0', description: 'to the left', snapLength: 262_144 },
      ...{ received: 8, dropped: 7 },
    });
    expect(reader.interfaces[bare]).toMatchObject({
      id: 1,
      linkType: 276,
      name: undefined,
      received: 0,
      dropped: 0,
    });
  });

  it('cuts a comment that is too long for its field at a whole character', () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink });
    writer.addInterface({ linkType: LinkType.Raw });
    writer.packet(0, 0, new Uint8Array(1), 0, 1, 1, 'x€'.repeat(20_000));
    writer.end();
    const [record] = readAll(bytes());
    expect(record!.comments[0] === `${'x€'.repeat(16_383)}x`).toBe(true);
  });

  it('refuses a packet on an interface that was not declared', () => {
    const writer = new PcapngWriter({ sink: () => {} });
    expect(() => writer.packet(0, 0, new Uint8Array(1), 0, 1, 1)).toThrow(
      expect.objectContaining({ code: 'ERR_CAPTURE', message: expect.stringContaining('addInterface') }),
    );
  });

  it('writes one file whatever the size of the buffer', () => {
    const files = [16, 100, 65_536].map((bufferSize) => {
      const { sink, bytes } = collect();
      const writer = new PcapngWriter({ sink, bufferSize });
      writer.addInterface({ linkType: LinkType.Raw, name: 'a' });
      for (let i = 0; i < 50; i++)
        writer.packet(0, i, new Uint8Array(i * 10).fill(i), 0, i * 10, i * 10, `n ${i}`);
      writer.end();
      return bytes();
    });
    expect(files[1]).toEqual(files[0]);
    expect(files[2]).toEqual(files[0]);
  });

  it('says so when it is used after its end, and ends once', () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink });
    writer.addInterface({ linkType: LinkType.Raw });
    writer.end();
    const { length } = bytes();
    writer.end();
    expect(bytes()).toHaveLength(length);
    expect(() => writer.packet(0, 0, new Uint8Array(1), 0, 1, 1)).toThrow(
      expect.objectContaining({ code: 'ERR_CLOSED' }),
    );
  });
});

describe('pcap', () => {
  it('gives back every packet and its time, in both byte orders and precisions', () => {
    fc.assert(
      fc.property(
        packets,
        fc.constantFrom<'little' | 'big'>('little', 'big'),
        fc.constantFrom<'nanoseconds' | 'microseconds'>('nanoseconds', 'microseconds'),
        fc.array(fc.nat(), { maxLength: 12 }),
        (all, byteOrder, precision, points) => {
          const { sink, bytes } = collect();
          const writer = new PcapWriter({
            ...{ sink, epochNs: EPOCH, byteOrder, precision, linkType: LinkType.Ethernet, bufferSize: 50 },
          });
          writeAll(writer, all);
          const reader = new CaptureReader({ epochNs: EPOCH });
          const records = cut(bytes(), points).flatMap((chunk) => reader.push(chunk));
          reader.end();
          const unit = precision === 'nanoseconds' ? 1n : 1000n;
          expect(reader.format).toBe('pcap');
          expect(
            records.map((each) => ({
              exact: BigInt(each.seconds) * 1_000_000_000n + BigInt(each.nanoseconds),
              bytes: [...each.bytes],
              originalLength: each.originalLength,
              linkType: each.interface.linkType,
            })),
          ).toEqual(
            all.map((each) => ({
              exact: ((EPOCH + BigInt(each.timeNs)) / unit) * unit,
              bytes: [...each.bytes],
              originalLength: each.bytes.length + each.extra,
              linkType: 1,
            })),
          );
        },
      ),
      { seed, numRuns: 200 },
    );
  });

  it('refuses what it cannot hold and names pcapng', () => {
    const writer = new PcapWriter({ sink: () => {}, linkType: LinkType.Raw });
    expect(() => writer.addInterface({ linkType: LinkType.Ethernet })).toThrow(/one link type.*pcapng/);
    expect(() => new PcapWriter({ sink: () => {}, linkType: 1, epochNs: 1n << 62n })).toThrow(/time.*pcapng/);
  });
});

const writers: [string, (options: CaptureWriterOptions) => CaptureWriter][] = [
  ['pcap', (options) => new PcapWriter({ ...options, linkType: LinkType.Raw })],
  ['pcapng', (options) => new PcapngWriter(options)],
];
describe.each(writers)('%s', (format, create) => {
  const write = (options: Omit<CaptureWriterOptions, 'sink'>, body: (writer: CaptureWriter) => void) => {
    const { sink, bytes } = collect();
    const writer = create({ sink, ...options });
    writer.addInterface({ linkType: LinkType.Raw });
    body(writer);
    writer.end();
    return bytes();
  };
  const read = (file: Uint8Array, options?: CaptureReaderOptions) => readAll(file, options);

  it('keeps no more of a packet than the snap length, and its length on the wire', () => {
    const file = write({ snapLength: 30 }, (writer) =>
      writer.packet(0, 0, new Uint8Array(100), 2, 98, 65_535),
    );
    const [record] = read(file);
    expect(record!.bytes).toHaveLength(30);
    expect(record!.originalLength).toBe(65_535);
    expect(record!.interface.snapLength).toBe(30);
  });

  it('copies whole packets from aligned and odd places alike', () => {
    const slab = Uint8Array.from({ length: 5000 }, (_, index) => (index * 7) & 0xff);
    const views = [slab, slab.subarray(1), slab.subarray(4, 4003)];
    const cases = views.flatMap((view) =>
      [0, 1, 2, 4, 128].flatMap((offset) => [15, 16, 1499, 3871].map((n) => ({ view, offset, n }))),
    );
    const file = write({}, (writer) => {
      for (const { view, offset, n } of cases) writer.packet(0, 0, view, offset, n, n);
    });
    const expected = cases.map(({ view, offset, n }) => view.slice(offset, offset + n));
    expect(read(file).map((each) => each.bytes.slice())).toEqual(expected);
  });

  it('counts time from the first packet when no epoch is given', () => {
    const file = write({ epochNs: EPOCH }, (writer) => {
      writer.packet(0, 5, new Uint8Array(1), 0, 1, 1);
      writer.packet(0, 4_000_000_006, new Uint8Array(1), 0, 1, 1);
    });
    const reader = new CaptureReader();
    expect(reader.push(file).map((each) => each.timeNs)).toEqual([0, 4_000_000_001]);
    expect(reader.epochNs).toBe(EPOCH + 5n);
  });

  it('loses no nanosecond at the edges of seconds and of 2^53', () => {
    const times = [0, 1, 999_999_999, 1_000_000_000, 2 ** 32 - 1, 2 ** 32, 9_007_199e9 - 1, 2 ** 53 - 1];
    const file = write({ epochNs: EPOCH }, (writer) => {
      for (const time of times) writer.packet(0, time, new Uint8Array(1), 0, 1, 1);
    });
    const records = read(file, { epochNs: EPOCH });
    expect(records.map((each) => BigInt(each.seconds) * 1_000_000_000n + BigInt(each.nanoseconds))).toEqual(
      times.map((time) => EPOCH + BigInt(time)),
    );
    expect(records.map((each) => each.timeNs)).toEqual(times);
  });

  it('is read as an async iteration', async () => {
    const file = write({}, (writer) => {
      for (let i = 0; i < 10; i++) writer.packet(0, i, Uint8Array.of(i), 0, 1, 1);
    });
    async function* chunks() {
      for (let at = 0; at < file.length; at += 7) yield file.slice(at, at + 7);
    }
    const seen: number[] = [];
    for await (const record of readCapture(chunks())) seen.push(record.bytes[0]!);
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('is refused when it ends in the middle of a packet, unless that is allowed', () => {
    const file = write({}, (writer) => {
      writer.packet(0, 0, new Uint8Array(40), 0, 40, 40);
      writer.flush();
    });
    const half = join([file, file.slice(0, 8)]).slice(0, file.length + (format === 'pcap' ? 3 : 8));
    expect(() => readAll(half)).toThrow(
      expect.objectContaining({
        code: 'ERR_CAPTURE',
        message: expect.stringContaining(`offset ${file.length}`),
      }),
    );
    expect(readAll(half, { truncated: true })).toHaveLength(1);
  });
});
