import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CaptureDirection, type CaptureWriter, LinkType } from '../../src/packet/capture.ts';
import { PcapWriter } from '../../src/packet/pcap.ts';
import { PcapngWriter } from '../../src/packet/pcapng.ts';
import { needs } from '../needs.ts';
import { collect, readAll } from './pcap-helpers.ts';

const EPOCH = 1_793_577_600_123_456_789n;
const COUNT = 4;
const LENGTH = 28 + 12;
const WIRE = 1028;

/** An IPv4 UDP packet 10.0.0.1:1000 -> 10.0.0.2:2000+n of 1028 bytes, of which the first 40 are here. */
function udp(n: number): Uint8Array {
  const packet = new Uint8Array(LENGTH);
  packet.set([0x45, 0, WIRE >> 8, WIRE & 0xff, 0, n, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
  packet.set([1000 >> 8, 1000 & 0xff, (2000 + n) >> 8, (2000 + n) & 0xff, 1008 >> 8, 1008 & 0xff, 0, 0], 20);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += (packet[i]! << 8) | packet[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet[10] = ~(sum >> 8) & 0xff;
  packet[11] = ~sum & 0xff;
  return packet;
}

const timeOf = (n: number) => n * 1_000_000_001;
/** Unix time as the tools print it. */
const stamp = (n: number) => {
  const all = EPOCH + BigInt(timeOf(n));
  return `${all / 1_000_000_000n}.${String(all % 1_000_000_000n).padStart(9, '0')}`;
};

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-pcap-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const orders = ['little', 'big'] as const;
const create: [string, 'little' | 'big', (sink: (bytes: Uint8Array) => void) => CaptureWriter][] =
  orders.flatMap((byteOrder) => [
    [
      'pcap',
      byteOrder,
      (sink) => new PcapWriter({ sink, epochNs: EPOCH, byteOrder, linkType: LinkType.Raw }),
    ],
    [
      'pcapng',
      byteOrder,
      (sink) => new PcapngWriter({ sink, epochNs: EPOCH, byteOrder, application: 'app 1' }),
    ],
  ]);

/** Four packets, turn by turn on two interfaces or all on one; the path of the file. */
function write(
  name: string,
  make: (sink: (bytes: Uint8Array) => void) => CaptureWriter,
  interfaces = 2,
): string {
  const { sink, bytes } = collect();
  const writer = make(sink);
  writer.addInterface({ name: 'tun0.out', linkType: LinkType.Raw });
  if (interfaces > 1)
    writer.addInterface({ name: 'wan', linkType: LinkType.Raw, description: 'to the left' });
  for (let n = 0; n < COUNT; n++) {
    const comment = n === 2 ? ['dropped: no-route (tunnel)', 'second'] : undefined;
    const flags = n === 3 ? CaptureDirection.Outbound : 0;
    writer.packet(n % interfaces, timeOf(n), udp(n), 0, LENGTH, WIRE, comment, flags);
  }
  writer.end();
  const file = path.join(directory, name);
  writeFileSync(file, bytes());
  return file;
}

const run = (command: string, ...argv: string[]) =>
  execFileSync(command, argv, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, TZ: 'UTC' },
  });
const lines = (text: string) => text.trim().split('\n');
const numbers = [...Array(COUNT).keys()];

describe.skipIf(needs('tcpdump'))('tcpdump', () => {
  it.each(create)('reads our %s (%s-endian): time, addresses, lengths', (format, order, make) => {
    const file = write(`tcpdump-${order}.${format}`, make, 1);
    expect(lines(run('tcpdump', '-nn', '-tt', '--nano', '-r', file))).toEqual(
      numbers.map((n) => `${stamp(n)} IP 10.0.0.1.1000 > 10.0.0.2.${2000 + n}: UDP, length 1000`),
    );
  });

  it.each(create)('writes our %s (%s-endian) again, and we read the same packets', (format, order, make) => {
    const file = write(`again-${order}.${format}`, make, 1);
    const copy = path.join(directory, `copy-${order}-${format}.pcap`);
    run('tcpdump', '--nano', '-r', file, '-w', copy);
    const packets = (from: string) =>
      readAll(readFileSync(from)).map((each) => [
        each.seconds,
        each.nanoseconds,
        each.originalLength,
        ...each.bytes,
      ]);
    expect(packets(copy)).toEqual(packets(file));
    expect(packets(copy)).toHaveLength(COUNT);
  });
});

describe.skipIf(needs('tcpdump'))('tcpdump and several interfaces', () => {
  // libpcap 1.10 compares the file's number of a link type with its own: equal for Ethernet, not for raw IP.
  it('reads a pcapng with two Ethernet interfaces', () => {
    const { sink, bytes } = collect();
    const writer = new PcapngWriter({ sink, epochNs: EPOCH });
    for (const name of ['eth0', 'eth1']) writer.addInterface({ name, linkType: LinkType.Ethernet });
    const frame = new Uint8Array(14 + LENGTH);
    frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    for (const n of numbers) {
      frame.set(udp(n), 14);
      writer.packet(n & 1, timeOf(n), frame, 0, frame.length, 14 + WIRE);
    }
    writer.end();
    const file = path.join(directory, 'two.pcapng');
    writeFileSync(file, bytes());
    expect(lines(run('tcpdump', '-nn', '-tt', '--nano', '-r', file))).toEqual(
      numbers.map((n) => `${stamp(n)} IP 10.0.0.1.1000 > 10.0.0.2.${2000 + n}: UDP, length 1000`),
    );
  });
});

describe.skipIf(needs('tshark', 'capinfos'))('Wireshark', () => {
  const fieldsOf = (file: string, ...names: string[]) =>
    lines(
      run(
        'tshark',
        '-r',
        file,
        '-T',
        'fields',
        '-E',
        'separator=|',
        ...names.flatMap((name) => ['-e', name]),
      ),
    ).map((line) => line.split('|'));

  it.each(create)('reads our %s (%s-endian): time, lengths, checksums', (format, order, make) => {
    const file = write(`tshark-${order}.${format}`, make);
    const names = ['frame.time_epoch', 'frame.cap_len', 'frame.len', 'ip.dst', 'udp.dstport'];
    expect(fieldsOf(file, ...names)).toEqual(
      numbers.map((n) => [stamp(n), String(LENGTH), String(WIRE), '10.0.0.2', String(2000 + n)]),
    );
  });

  it.each(orders)('reads our pcapng (%s-endian): interface names, comments, directions', (order) => {
    const make = create.find(([format, byteOrder]) => format === 'pcapng' && byteOrder === order)!;
    const file = write(`names-${order}.pcapng`, make[2]);
    const names = [
      'frame.interface_name',
      'frame.interface_description',
      'frame.comment',
      'frame.packet_flags_direction',
    ];
    expect(fieldsOf(file, ...names)).toEqual([
      ['tun0.out', '', '', ''],
      ['wan', 'to the left', '', ''],
      ['tun0.out', '', 'dropped: no-route (tunnel),second', ''],
      ['wan', 'to the left', '', '0x00000002'],
    ]);
  });

  it('counts what our pcapng says: application, interfaces, packets and drops', () => {
    const info = run('capinfos', write('info.pcapng', create[1]![2]));
    expect(info).toMatch(/Capture application: +app 1/);
    expect(info).toMatch(/Number of packets: +4/);
    expect(info).toMatch(/File timestamp precision: +nanoseconds \(9\)/);
    expect(info).toMatch(
      /Name = tun0\.out[\s\S]*Number of packets = 2[\s\S]*Name = wan[\s\S]*Description = to the left/,
    );
    expect(info.match(/Number of stat entries = 1/g)).toHaveLength(2);
  });

  it.each(['pcapng', 'nsecpcap', 'pcap'])(
    'writes %s, and we read time, bytes, names and comments',
    (kind) => {
      const copy = path.join(directory, `wireshark.${kind}`);
      run('tshark', '-r', write(`for-${kind}.pcapng`, create[1]![2]), '-F', kind, '-w', copy);
      const unit = kind === 'pcap' ? 1000n : 1n;
      expect(
        readAll(readFileSync(copy)).map((each) => [
          BigInt(each.seconds) * 1_000_000_000n + BigInt(each.nanoseconds),
          [...each.bytes],
          each.originalLength,
          each.interface.name,
          each.comments,
        ]),
      ).toEqual(
        numbers.map((n) => [
          ((EPOCH + BigInt(timeOf(n))) / unit) * unit,
          [...udp(n)],
          WIRE,
          kind === 'pcapng' ? ['tun0.out', 'wan'][n & 1] : undefined,
          kind === 'pcapng' && n === 2 ? ['dropped: no-route (tunnel)', 'second'] : [],
        ]),
      );
    },
  );
});
