import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/engine/index.ts';
import {
  icmpEcho,
  ip,
  ipv4,
  LinkType,
  PcapWriter,
  Protocol,
  parseIp,
  tooBig,
  UnreachableReason,
  udpPacket,
  unreachable,
} from '../../src/packet/index.ts';
import { needs } from '../needs.ts';
import { collect } from '../packet/pcap-helpers.ts';
import { testHost } from './hosts.ts';

const ROUNDS = 100_000;
const options = Uint8Array.of(0, 0, 5, 2, 0, 0, 1, 0);
const extensions = [
  { protocol: Protocol.HopByHop, bytes: options },
  { protocol: Protocol.DestinationOptions, bytes: options },
];

/** What a host may see on a good day. */
function seeds(): Uint8Array[] {
  const four = { from: '10.0.0.1:7', to: '10.0.0.2:7', payload: 100 };
  const six = { from: '[fd00::1]:7', to: '[fd00::2]:7', payload: 100 };
  const fragment = udpPacket({ ...four, payload: 1000 });
  fragment[6] = 0x20;
  ipv4.fillChecksum(fragment, 0);
  const error = new Uint8Array(1280);
  const quoted = udpPacket({ from: '10.0.0.2:7', to: '10.0.0.1:7', payload: 9 });
  const source = parseIp('10.0.0.1').bytes;
  const big = error.slice(0, tooBig(quoted, 0, quoted.length, 600, source, 0, error, 0));
  const reason = UnreachableReason.Port;
  const refused = error.slice(0, unreachable(quoted, 0, quoted.length, reason, source, 0, error, 0));
  return [
    udpPacket(four),
    udpPacket({ ...four, ipOptions: Uint8Array.of(148, 4, 0, 0) }),
    udpPacket(six),
    udpPacket({ ...six, extensions }),
    icmpEcho({ to: '10.0.0.2', payload: 100 }),
    icmpEcho({ to: 'fd00::2', payload: 100, extensions }),
    fragment,
    big,
    refused,
  ];
}

describe('mutated packets', () => {
  it(`${ROUNDS} of them harm nobody: nothing throws, leaks, or grows`, { timeout: 180_000 }, async () => {
    await using host = await testHost({
      forward: true,
      interfaces: [
        { name: 'eth0', addresses: ['10.0.0.2/24', 'fd00::2/64'] },
        { name: 'eth1', addresses: ['10.1.0.1/24'] },
      ],
      routes: [{ to: '0.0.0.0/0', via: '10.1.0.9' }],
    });
    const random = randomStream(5, 'mutations');
    const all = seeds();
    let heard = 0;
    const socket = host.host.udp({ port: 7, onMessage: () => heard++ });
    for (let i = 0; i < ROUNDS; i += 500) {
      for (let j = 0; j < 500; j++) {
        let bytes = all[random.below(all.length)]!.slice();
        for (let n = random.below(4); n > 0; n--) bytes[random.below(bytes.length)] = random.u32();
        if (random.below(8) === 0) bytes = bytes.subarray(0, random.below(bytes.length + 1));
        // Most would stop at the first checksum.
        if (bytes.length >= 20 && random.below(4) > 0 && (bytes[0]! & 15) * 4 <= bytes.length) {
          if (bytes[0]! >> 4 === 4) ipv4.fillChecksum(bytes, 0);
        }
        host.port.send(bytes);
      }
      socket.send(new Uint8Array(9), '10.0.0.1:7');
      host.runtime.advance('10ms');
      host.port.received.length = host.ports.eth1!.received.length = 0;
    }
    expect(heard).toBeGreaterThan(1000);
    const { apps, memory } = host.net.report();
    const { report } = apps.find(({ app }) => app === 'host')!;
    expect(memory.livePackets).toBe(report.fragmentsHeld);
    expect(Number(report.fragmentsHeld)).toBeLessThanOrEqual(1024);
    // Each reason that a packet of one host can be dropped for was met.
    expect(Object.keys(host.drops()).length).toBeGreaterThan(14);
    host.runtime.advance('61s');
    host.port.received.length = 0;
    expect(host.net.report().memory.livePackets).toBe(0);
    // And the host is as it was.
    const [reply] = host.exchange(icmpEcho({ to: '10.0.0.2' }));
    expect(ip.destination(reply!, 0)).toEqual(parseIp('10.0.0.1'));
  });
});

describe.skipIf(needs('tshark'))('tshark', () => {
  it('finds nothing wrong with what a stack sends', async () => {
    await using host = await testHost({
      forward: true,
      interfaces: [
        { name: 'eth0', addresses: ['10.0.0.2/24', 'fd00::2/64'] },
        { name: 'eth1', addresses: ['10.1.0.1/24'], mtu: 576 },
      ],
    });
    const socket = host.host.udp({ port: 9 });
    for (const to of ['10.0.0.1:5', '[fd00::1]:5', '10.1.0.5:5'])
      for (const length of [0, 1, 1000, 5001]) socket.send(new Uint8Array(length).fill(7), to);
    void host.host.ping('10.0.0.1', { size: 3000 });
    void host.host.ping('fd00::1', { size: 3000 });
    host.exchange(
      ...seeds(),
      udpPacket({ from: '10.0.0.1:5', to: '10.0.0.2:99' }),
      udpPacket({ from: '[fd00::1]:5', to: '[fd00::2]:99' }),
      udpPacket({ from: '10.0.0.1:5', to: '10.1.0.5:99', payload: 1400 }),
      udpPacket({ from: '10.0.0.1:5', to: '10.1.0.5:99', payload: 1400, dontFragment: true }),
      icmpEcho({ to: '10.1.0.5', ttl: 1 }),
    );
    const sent = Object.values(host.ports).flatMap(({ received }) => received);
    expect(sent.length).toBeGreaterThan(40);
    const file = collect();
    const writer = new PcapWriter({ sink: file.sink, linkType: LinkType.Raw });
    const on = writer.addInterface({ name: 'eth0', linkType: LinkType.Raw });
    for (const { bytes, time } of sent) writer.packet(on, time, bytes, 0, bytes.length, bytes.length);
    writer.end();
    const directory = mkdtempSync(join(tmpdir(), 'stack-'));
    const path = join(directory, 'sent.pcap');
    writeFileSync(path, file.bytes());
    const checks = ['ip.check_checksum', 'udp.check_checksum', 'tcp.check_checksum'];
    const { stdout, stderr } = spawnSync(
      'tshark',
      [
        ...checks.flatMap((check) => ['-o', `${check}:TRUE`]),
        ...[
          '-r',
          path,
          '-T',
          'fields',
          '-e',
          'frame.number',
          '-e',
          '_ws.expert.message',
          '-e',
          'ip.checksum.status',
        ],
        ...['-e', 'udp.checksum.status', '-e', 'icmp.checksum.status', '-e', 'icmpv6.checksum.status'],
      ],
      { encoding: 'utf8' },
    );
    rmSync(directory, { recursive: true });
    const lines = String(stdout).trim().split('\n');
    expect(lines.length, String(stderr)).toBe(sent.length);
    // 0 is bad, 1 good, 2 not verified (a later fragment).
    const bad = lines.filter(
      (line) => /\t(0|[\d,]*\b0\b[\d,]*)(\t|$)/.test(line) || /malformed|bad/i.test(line),
    );
    expect(bad).toEqual([]);
  });
});
