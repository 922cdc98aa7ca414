/**
 * Runs inside a throw-away host and tries there what the kernel does with superframes; writes a `ProbeResult` as JSON.
 *
 *   program -> TUN "whole", with a virtio header -> the kernel forwards -> TUN "cut", without -> program
 *
 * The kernel has to cut the superframe and fill its checksums in; each wire packet is checked.
 */
import { readSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type TunHandle, TunOffload } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import {
  checksum,
  ip,
  pseudoSum4,
  pseudoSum6,
  sum,
  tcp,
  tcpPacket,
  udp,
  udpPacket,
} from '../../packet/index.ts';
import { configureInterface } from '../../tun/system/live-ip.ts';
import { testUdpOffloads, type UdpVerdicts, type Verdict } from '../../tun/udp-self-test.ts';
import { errorLine, reportError } from '../exit.ts';

export type SuperframeKind = 'tso4' | 'tso6' | 'uso4' | 'uso6';

export interface ProbeResult {
  /** Or why there is none. */
  tun: { vnetHeader: number; offloads: number } | { error: string };
  packetSocket: { vnetHeader: number } | { error: string };
  udp: UdpVerdicts;
  /** What became of superframes on their way through the kernel; undefined where the device takes none. */
  superframes: Partial<Record<SuperframeKind, Verdict>>;
}

export interface Kind {
  name: SuperframeKind;
  version: 4 | 6;
  protocol: 6 | 17;
  /** virtio_net_hdr's gso_type. */
  gsoType: number;
  offload: number;
}

const KINDS: readonly Kind[] = [
  { name: 'tso4', version: 4, protocol: 6, gsoType: 1, offload: TunOffload.tso4 },
  { name: 'tso6', version: 6, protocol: 6, gsoType: 4, offload: TunOffload.tso6 },
  { name: 'uso4', version: 4, protocol: 17, gsoType: 5, offload: TunOffload.uso },
  { name: 'uso6', version: 6, protocol: 17, gsoType: 5, offload: TunOffload.uso },
];
const SEGMENT = 1000;
const SEQUENCE = 1_000_000;
/** Equal segments, and a last one of one byte, which kernels have stumbled over. */
const LENGTHS = [4 * SEGMENT, 3 * SEGMENT + 1];
/** Forwarding is done when the write returns, unless the kernel moves it to another core. */
const PATIENCE_MS = 50;

export async function probe(): Promise<ProbeResult> {
  const superframes: ProbeResult['superframes'] = {};
  const whole = attempt(() => openTun('whole', true));
  if (!('error' in whole) && whole.vnetHeader > 0) {
    const cut = openTun('cut', false);
    await prepare();
    for (const kind of KINDS) {
      if (!(whole.offloads & kind.offload)) continue;
      for (const length of LENGTHS) {
        const verdict = await passThrough(whole, cut.fd, kind, length);
        if (superframes[kind.name] !== 'failed') superframes[kind.name] = verdict;
      }
    }
  }
  return {
    tun: 'error' in whole ? whole : { vnetHeader: whole.vnetHeader, offloads: whole.offloads },
    packetSocket: attempt(() => {
      const socket = { interface: 'lo', vnetHeader: true, outgoing: false, promiscuous: false };
      const { fd, vnetHeader } = native().packetOpen({ ...socket, buffer: 0, netns: '' });
      native().close(fd);
      return { vnetHeader };
    }),
    udp: testUdpOffloads(),
    superframes,
  };
}

function attempt<T>(work: () => T): T | { error: string } {
  try {
    return work();
  } catch (error) {
    return { error: errorLine(error) };
  }
}

function openTun(name: string, offload: boolean): TunHandle {
  return native().tunOpen({ name, mode: 'tun', offload, multiQueue: false, exclusive: true, netns: '' });
}

async function prepare(): Promise<void> {
  for (const [name, n] of [
    ['whole', 1],
    ['cut', 2],
  ] as const) {
    const addresses = [`10.84.${n}.1/24`, `fd84:${n}::1/64`];
    await configureInterface({ name, addresses, up: true, addressGeneration: 'none' });
  }
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
}

async function passThrough(whole: TunHandle, cut: number, kind: Kind, length: number): Promise<Verdict> {
  const payload = Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  try {
    writeSync(whole.fd, superframe(kind, payload, whole.vnetHeader));
  } catch {
    // EINVAL: such kernels there were. The port then cuts by itself.
    return 'absent';
  }
  const wanted = Math.ceil(length / SEGMENT);
  const packets = await readPackets(cut, kind, wanted);
  const good = packets.length === wanted && packets.every((packet, i) => isSegment(packet, kind, payload, i));
  return good ? 'passed' : 'failed';
}

/** A packet of everything with the sum of its pseudo-header where the checksum goes, and the virtio header before it. */
function superframe(kind: Kind, payload: Uint8Array, headerLength: number): Uint8Array {
  const { version, protocol, gsoType } = kind;
  const [from, to] = version === 4 ? ['10.84.1.2:1', '10.84.2.2:2'] : ['[fd84:1::2]:1', '[fd84:2::2]:2'];
  const packet =
    protocol === 6
      ? tcpPacket({ from, to, payload, sequence: SEQUENCE })
      : udpPacket({ from: from!, to: to!, payload });
  const start = version === 4 ? 20 : 40;
  const field = protocol === 6 ? tcp.CHECKSUM : udp.CHECKSUM;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  view.setUint16(start + field, pseudoSum(packet, version, protocol));
  const bytes = new Uint8Array(headerLength + packet.length);
  const header = new DataView(bytes.buffer);
  header.setUint8(0, 1); // VIRTIO_NET_HDR_F_NEEDS_CSUM
  header.setUint8(1, gsoType);
  header.setUint16(2, packet.length - payload.length, true);
  header.setUint16(4, SEGMENT, true);
  header.setUint16(6, start, true);
  header.setUint16(8, field, true);
  bytes.set(packet, headerLength);
  return bytes;
}

function pseudoSum(packet: Uint8Array, version: 4 | 6, protocol: number): number {
  if (version === 4) return pseudoSum4(packet, 12, protocol, packet.length - 20);
  return pseudoSum6(packet, 8, 24, protocol, packet.length - 40);
}

/** Until there are as many as wanted or nothing comes any more; what the kernel says by itself is left out. */
async function readPackets(fd: number, kind: Kind, wanted: number): Promise<Uint8Array[]> {
  const packets: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  for (let waited = 0; waited < PATIENCE_MS && packets.length < wanted; ) {
    try {
      const packet = buffer.slice(0, readSync(fd, buffer));
      if (ip.version(packet, 0) !== kind.version) continue;
      if (packet[kind.version === 4 ? 9 : 6] === kind.protocol) packets.push(packet);
    } catch {
      await sleep(1);
      waited++;
    }
  }
  return packets;
}

export function isSegment(
  packet: Uint8Array,
  { version, protocol }: Kind,
  payload: Uint8Array,
  i: number,
): boolean {
  const l4 = version === 4 ? 20 : 40;
  const data = payload.subarray(i * SEGMENT, (i + 1) * SEGMENT);
  const headers = l4 + (protocol === 6 ? tcp.HEADER : udp.HEADER);
  if (packet.length !== headers + data.length || ip.totalLength(packet, 0) !== packet.length) return false;
  if (version === 4 && checksum(packet, 0, 20) !== 0) return false;
  if (sum(packet, l4, packet.length - l4, pseudoSum(packet, version, protocol)) !== 0xffff) return false;
  const placed =
    protocol === 6
      ? tcp.sequence(packet, l4) === SEQUENCE + i * SEGMENT
      : udp.length(packet, l4) === udp.HEADER + data.length;
  return placed && Buffer.compare(packet.subarray(headers), data) === 0;
}

if (process.argv[1] === import.meta.filename) {
  try {
    process.stdout.write(`${JSON.stringify(await probe())}\n`);
  } catch (error) {
    process.exitCode = reportError(error);
  }
}
