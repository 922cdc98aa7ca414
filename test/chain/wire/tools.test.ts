import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { advance, turnRound } from '../../../src/chain/wire/edit.ts';
import { emitProbe, PORTS, PROBE_LENGTH } from '../../../src/chain/wire/prefix.ts';
import { icmpEcho, nsh, tcpPacket, udpPacket } from '../../../src/packet/index.ts';
import { PcapngWriter } from '../../../src/packet/pcapng.ts';
import { needs } from '../../needs.ts';
import { collect } from '../../packet/pcap-helpers.ts';
import { prefixOf, SAMPLE } from './samples.ts';

const V4 = udpPacket({ from: '192.0.2.1:1000', to: '198.51.100.2:2000', payload: 30 });
const V6 = tcpPacket({ from: '[2001:db8::1]:1000', to: '[2001:db8::2]:2000', payload: 30 });

function datagram(prefix: Uint8Array, inner: Uint8Array, outer: 4 | 6, port: number): Uint8Array {
  const payload = Uint8Array.of(...prefix, ...inner);
  return outer === 4
    ? udpPacket({ from: '10.0.0.1:40000', to: `10.0.0.2:${port}`, payload })
    : udpPacket({ from: '[fd00::1]:40000', to: `[fd00::2]:${port}`, payload });
}

/** What leaves the ingress and each of three functions, what comes back, a probe, metadata of type 1. */
function packets(encapsulation: 'vxlan-gpe' | 'geneve'): Uint8Array[] {
  const port = PORTS[encapsulation];
  const all: Uint8Array[] = [];
  const prefix = prefixOf({ encapsulation });
  for (let hop = 0; hop <= 3; hop++) {
    all.push(datagram(prefix, V4, hop % 2 === 0 ? 4 : 6, port));
    advance(prefix, 8);
  }
  turnRound(prefix, 8, 28);
  all.push(datagram(prefix, icmpEcho({ from: '198.51.100.2', to: '192.0.2.1', reply: true }), 4, port));
  all.push(datagram(prefixOf({ encapsulation, family: 6, replicas: [] }), V6, 4, port));
  all.push(
    datagram(prefixOf({ encapsulation, replicas: Array.from({ length: 32 }, (_, i) => i) }), V4, 6, port),
  );
  const probe = new Uint8Array(PROBE_LENGTH);
  emitProbe({ ...SAMPLE, encapsulation }, probe);
  all.push(datagram(probe, new Uint8Array(0), 4, port));
  const fixed = new Uint8Array(8 + nsh.FIXED_HEADER);
  fixed.set(probe.subarray(0, 8));
  nsh.emit({ nextProtocol: 1, servicePath: 9, serviceIndex: 3, metadata: new Uint8Array(16) }, fixed, 8);
  all.push(datagram(fixed, V4, 4, port));
  return all;
}

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'tunconnector-chain-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function write(encapsulation: 'vxlan-gpe' | 'geneve'): string {
  const { sink, bytes } = collect();
  const writer = new PcapngWriter({ sink });
  const id = writer.addInterface({ name: 'chain', linkType: 101 });
  for (const packet of packets(encapsulation)) writer.packet(id, 0, packet, 0, packet.length, packet.length);
  writer.end();
  const file = path.join(directory, `${encapsulation}.pcapng`);
  writeFileSync(file, bytes());
  return file;
}

const run = (command: string, ...argv: string[]) =>
  execFileSync(command, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

const NSH = ['nsh.ttl', 'nsh.length', 'nsh.Obit', 'nsh.mdtype', 'nsh.nextproto', 'nsh.spi', 'nsh.si'];
const FIELDS = [
  ...NSH,
  'vxlan.vni',
  'geneve.vni',
  'nsh.metadataclass',
  'nsh.metadata',
  'frame.protocols',
  '_ws.malformed',
  '_ws.expert.message',
];
const dissections = new Map<string, Record<string, string>[]>();
/** What tshark finds in the capture over an encapsulation, packet by packet. It starts slowly: once for all tests. */
function dissected(encapsulation: 'vxlan-gpe' | 'geneve'): Record<string, string>[] {
  const known = dissections.get(encapsulation);
  if (known) return known;
  const argv = ['-r', write(encapsulation), '-T', 'fields', '-E', 'separator=|'];
  const rows = run('tshark', ...argv, ...FIELDS.flatMap((name) => ['-e', name]))
    .trimEnd()
    .split('\n')
    .map((line) => Object.fromEntries(line.split('|').map((value, i) => [FIELDS[i]!, value])));
  dissections.set(encapsulation, rows);
  return rows;
}

const EXPECTED = [
  ['63', '10', '0', '2', '1', '7', '255'],
  ['62', '10', '0', '2', '1', '7', '254'],
  ['61', '10', '0', '2', '1', '7', '253'],
  ['60', '10', '0', '2', '1', '7', '252'],
  ['63', '10', '0', '2', '1', String(0x800007), '255'],
  ['63', '9', '0', '2', '2', '7', '255'],
  ['63', '25', '0', '2', '1', '7', '255'],
  ['63', '5', '1', '2', '0', '7', '255'],
  ['63', '6', '0', '1', '1', '9', '3'],
];

describe.skipIf(needs('tshark'))('tshark', () => {
  it.each(['vxlan-gpe', 'geneve'] as const)('reads every header of a chain over %s', (encapsulation) => {
    const rows = dissected(encapsulation);
    expect(rows.map((row) => NSH.map((name) => String(Number(row[name]))))).toEqual(EXPECTED);
    const vni = encapsulation === 'geneve' ? 'geneve.vni' : 'vxlan.vni';
    expect(rows.map((row) => Number(row[vni]))).toEqual(EXPECTED.map(() => 42));
    expect(rows.slice(0, 5).map((row) => row['nsh.metadata'])).toEqual([
      ...Array(4).fill('00f1a2b3c4d5e6f7,00000011000100030011002100310041'),
      '00f1a2b3c4d5e6f7,00000011000100410031002100110003',
    ]);
    expect(rows[0]!['nsh.metadataclass']!.split(',').map(Number)).toEqual([0xfff6, 0xfff6]);
  });

  it.each(['vxlan-gpe', 'geneve'] as const)(
    'finds the packets behind them, and nothing malformed, over %s',
    (encapsulation) => {
      const rows = dissected(encapsulation);
      expect(rows.filter((row) => row['_ws.malformed'] !== '' || row['_ws.expert.message'] !== '')).toEqual(
        [],
      );
      expect(rows.map((row) => row['frame.protocols']!.replace(/^.*:nsh:?/, ''))).toEqual([
        ...Array(4).fill('ip:udp:data'),
        'ip:icmp',
        'ipv6:tcp:data',
        'ip:udp:data',
        '',
        'ip:udp:data',
      ]);
    },
  );
});

describe.skipIf(needs('tcpdump'))('tcpdump', () => {
  it('reads every header of a chain over VXLAN-GPE', () => {
    const text = run('tcpdump', '-nnvr', write('vxlan-gpe'));
    expect(text.match(/VXLAN-GPE, flags \[IP\], vni 42/g)).toHaveLength(EXPECTED.length);
    const found = [...text.matchAll(/NSH, flags \[(.*?)\], service-path-id (\w+), service-index (\w+)/g)];
    expect(found.map(([, flags, path, index]) => [flags === 'O', Number(path), Number(index)])).toEqual(
      EXPECTED.map(([, , oam, , , path, index]) => [oam === '1', Number(path), Number(index)]),
    );
    expect(text).not.toMatch(/invalid|\[\|/);
  });
});
