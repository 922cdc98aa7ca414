import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/engine/random.ts';
import { reasonName } from '../../src/engine/reasons.ts';
import { udpPacket } from '../../src/packet/index.ts';
import {
  Found,
  MAX_RECORD,
  MIN_SPAN,
  PREFIX,
  RecordReader,
  RecordWriter,
} from '../../src/tunnel/stream/framing.ts';

const MAC = { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' };
/** The span lies somewhere in the array, as in a pool's slab. */
const BASE = 100;

function record(packet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(PREFIX + packet.length);
  bytes[0] = packet.length >> 8;
  bytes[1] = packet.length & 255;
  bytes.set(packet, PREFIX);
  return bytes;
}

const join = (parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const v4 = (payload: number) => udpPacket({ to: '10.0.0.2:53', payload });
const v6 = (payload: number) => udpPacket({ to: '[fd00::2]:53', payload });
const frame = (payload: number) => udpPacket({ to: '10.0.0.2:53', payload, ethernet: MAC });

interface Outcome {
  packets: string[];
  drops: string[];
  lost: boolean;
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

class Receiver {
  readonly reader: RecordReader;
  readonly outcome: Outcome = { packets: [], drops: [], lost: false };

  constructor(layer: 2 | 3 = 3, longest = MAX_RECORD) {
    this.reader = new RecordReader(layer, longest, new Uint8Array(BASE + MIN_SPAN + 50), BASE, MIN_SPAN);
  }

  /** Gives bytes in pieces as a socket would: at most what there is room for. */
  take(bytes: Uint8Array): void {
    const { reader, outcome } = this;
    let at = 0;
    while (!outcome.lost) {
      const found = reader.next();
      if (found === Found.Packet) {
        outcome.packets.push(hex(reader.bytes.subarray(reader.at, reader.at + reader.length)));
        reader.pass();
      } else if (found === Found.More) {
        const n = Math.min(reader.makeRoom(), bytes.length - at);
        if (at === bytes.length) return;
        if (n === 0) throw new Error('no room for the rest of a record');
        reader.bytes.set(bytes.subarray(at, at + n), reader.end);
        reader.added(n);
        at += n;
      } else {
        outcome.drops.push(reasonName(reader.reason));
        outcome.lost = found === Found.Lost;
      }
    }
  }
}

function receive(chunks: Uint8Array[], layer: 2 | 3 = 3, longest?: number): Outcome {
  const receiver = new Receiver(layer, longest);
  for (const chunk of chunks) receiver.take(chunk);
  return receiver.outcome;
}

/** Cuts bytes after each of `lengths`, over and over. */
function chop(bytes: Uint8Array, lengths: number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const n = lengths[i % lengths.length]!;
    chunks.push(bytes.subarray(at, at + n));
    at += n;
  }
  return chunks;
}

describe('records in a stream', () => {
  const anyPacket = fc.oneof(
    fc.integer({ min: 0, max: 1500 }).map(v4),
    fc.integer({ min: 0, max: 1500 }).map(v6),
    fc.constantFrom(0, 1, 19, 20, 40, 60_000).map((n) => new Uint8Array(n)),
    fc.uint8Array({ maxLength: 60 }),
    fc.integer({ min: 10, max: 60 }).map((n) => v4(100).subarray(0, n)),
  );

  it('are the same whatever pieces they come in', () => {
    fc.assert(
      fc.property(
        fc.array(anyPacket, { maxLength: 30 }),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 70_000 })), {
          minLength: 1,
        }),
        (packets, lengths) => {
          const stream = join(packets.map(record));
          expect(receive(chop(stream, lengths))).toEqual(receive([stream]));
        },
      ),
      { seed: 1, numRuns: 100 },
    );
  });

  it('bring every good packet, with any bad ones between them', () => {
    const bad = fc.constantFrom(0, 1, 2, 19).map((n) => new Uint8Array(n).fill(0x45));
    const good = fc.oneof(
      fc.integer({ min: 0, max: 1500 }).map(v4),
      fc.integer({ min: 0, max: 1500 }).map(v6),
    );
    const either = fc.oneof(
      bad.map((bytes) => ({ bytes, good: false })),
      good.map((bytes) => ({ bytes, good: true })),
    );
    fc.assert(
      fc.property(fc.array(either, { maxLength: 40 }), fc.integer({ min: 1, max: 3000 }), (all, piece) => {
        const { packets, drops, lost } = receive(chop(join(all.map((one) => record(one.bytes))), [piece]));
        expect(packets).toEqual(all.filter((one) => one.good).map((one) => hex(one.bytes)));
        expect(drops).toEqual(all.filter((one) => !one.good).map(() => 'record-too-short'));
        expect(lost).toBe(false);
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  it('hold packets of up to 65535 bytes, also when they dribble', () => {
    const longest = v4(65_507);
    expect(longest).toHaveLength(MAX_RECORD);
    const stream = join([v4(5), longest, v4(6)].map(record));
    expect(receive(chop(stream, [1])).packets).toEqual([v4(5), longest, v4(6)].map(hex));
  });

  it('are dropped and said why when they cannot be packets', () => {
    const padded = join([v4(10), new Uint8Array(3)]);
    const badHeader = v4(10);
    badHeader[0] = 0x43;
    const why = (bytes: Uint8Array, layer: 2 | 3 = 3, longest?: number) =>
      receive([record(bytes)], layer, longest).drops[0] ?? 'taken';
    expect(why(new Uint8Array(0))).toBe('record-too-short');
    expect(why(v4(10).subarray(0, 19))).toBe('record-too-short');
    expect(why(v6(10).subarray(0, 39))).toBe('record-too-short');
    expect(why(v4(10).subarray(0, 37))).toBe('record-truncated');
    expect(why(v6(10).subarray(0, 57))).toBe('record-truncated');
    expect(why(badHeader)).toBe('inner-malformed');
    expect(why(new Uint8Array(100))).toBe('record-not-a-packet');
    expect(why(v4(1000), 3, 1000)).toBe('record-too-long');
    expect(why(padded)).toBe('taken');
    expect(why(frame(10), 2)).toBe('taken');
    expect(why(frame(10).subarray(0, 13), 2)).toBe('record-too-short');
    expect(why(frame(10).fill(0xff), 2)).toBe('record-not-a-packet');
    expect(why(frame(1000), 2, 1000)).toBe('record-too-long');
  });

  it('show a stream of another layer or out of step after four records', () => {
    const out = receive(Array.from({ length: 10 }, () => record(frame(10))));
    expect(out).toEqual({ packets: [], drops: Array(4).fill('record-not-a-packet'), lost: true });
    // A stream that lost a byte: real packets, at the wrong places.
    const random = randomStream(5, 'payload');
    const scrambled = (build: (payload: Uint8Array) => Uint8Array) => {
      const records = Array.from({ length: 2000 }, () => {
        const payload = new Uint8Array(1400);
        random.fill(payload);
        return record(build(payload));
      });
      return join(records).subarray(1);
    };
    const packets = scrambled((payload) => udpPacket({ to: '10.0.0.2:53', payload }));
    expect(receive([packets]).lost).toBe(true);
    const frames = scrambled((payload) => udpPacket({ to: '10.0.0.2:53', payload, ethernet: MAC }));
    expect(receive([frames], 2).lost).toBe(true);
  });

  it('survive single ones that are no packets', () => {
    const three = Array.from({ length: 3 }, () => record(new Uint8Array(40)));
    const stream = Array.from({ length: 20 }, () => [...three, record(v4(1))]).flat();
    const { packets, lost } = receive(stream);
    expect(packets).toHaveLength(20);
    expect(lost).toBe(false);
  });

  it('survive any million mutated bytes: nothing throws or grows, and every record is a packet or a counted drop', () => {
    for (const layer of [3, 2] as const) {
      const random = randomStream(9, `layer ${layer}`);
      const good = Array.from({ length: 400 }, (_, i) =>
        record(layer === 2 ? frame((i * 37) % 1400) : i % 2 ? v4((i * 37) % 1400) : v6((i * 37) % 1400)),
      );
      let [total, mutated, lost, drops, packets] = [0, 0, 0, 0, 0];
      let receiver = new Receiver(layer);
      const size = receiver.reader.bytes.length;
      while (total < 4_000_000 || mutated < 1_000_000) {
        // As much as one connection carries, half of it harmed a little and half of it much.
        const stream = join(good.slice(random.below(100)));
        const rate = random.below(2) === 0 ? 20_000 : 2;
        for (let at = random.below(rate); at < stream.length; at += 1 + random.below(2 * rate)) {
          stream[at] = random.below(256);
          mutated++;
        }
        for (const chunk of chop(stream, [1 + random.below(5), 1 + random.below(100_000)])) {
          receiver.take(chunk);
          const { outcome, reader } = receiver;
          drops += outcome.drops.length;
          packets += outcome.packets.length;
          outcome.drops.length = outcome.packets.length = 0;
          expect(reader.bytes).toHaveLength(size);
          expect(reader.waiting).toBeLessThanOrEqual(MIN_SPAN);
          if (outcome.lost) break;
        }
        total += stream.length;
        if (receiver.outcome.lost) lost++;
        receiver = new Receiver(layer);
      }
      expect(lost).toBeGreaterThan(0);
      expect(drops).toBeGreaterThanOrEqual(4 * lost);
      expect(packets).toBeGreaterThan(1000);
    }
  });
});

describe('a send buffer', () => {
  const fill = (writer: RecordWriter, packets: Uint8Array[]) => {
    for (const packet of packets) {
      writer.bytes.set(packet, writer.at);
      writer.add(packet.length);
    }
  };

  it('writes what the reader reads', () => {
    const writer = new RecordWriter(new Uint8Array(BASE + MIN_SPAN), BASE, MIN_SPAN);
    const packets = [v4(0), v6(1300), v4(700)];
    fill(writer, packets);
    expect(receive([writer.bytes.slice(writer.start, writer.end)]).packets).toEqual(packets.map(hex));
  });

  it('has room for one record of full length, and none behind it', () => {
    const writer = new RecordWriter(new Uint8Array(BASE + MIN_SPAN), BASE, MIN_SPAN);
    expect(writer.fits(MAX_RECORD)).toBe(true);
    fill(writer, [new Uint8Array(MAX_RECORD)]);
    expect(writer.fits(0)).toBe(false);
    writer.sent(MIN_SPAN);
    expect(writer.fits(MAX_RECORD)).toBe(true);
  });

  it('knows how many records did not leave whole', () => {
    const lost = (sent: number) => {
      const writer = new RecordWriter(new Uint8Array(BASE + MIN_SPAN), BASE, MIN_SPAN);
      fill(writer, [new Uint8Array(10), new Uint8Array(20), new Uint8Array(30)]);
      writer.sent(sent);
      const n = writer.discard();
      expect(writer.empty).toBe(true);
      return n;
    };
    expect([0, 1, 11, 12, 13, 33, 34, 35, 65, 66].map(lost)).toEqual([3, 3, 3, 2, 2, 2, 1, 1, 1, 0]);
  });
});
