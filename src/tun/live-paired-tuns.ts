/**
 * Two TUN ports without interfaces, joined back to back: what is written into one comes in at the other. For code that
 * wants to run packets through a network of its own before the real one starts.
 */
import { writeSync } from 'node:fs';
import { TunOffload } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { parseIp } from '../packet/address.ts';
import { Protocol } from '../packet/protocol.ts';
import { TunPort } from './tun.ts';

const VIRTIO_HEADER = 12;
const DEVICE = { mode: 'tun', offload: true, multiQueue: false, persist: false, netns: '' } as const;
const { checksum, tso4, tso6, uso } = TunOffload;
const OFFLOADS = checksum | tso4 | tso6 | uso;

export interface PairedTuns {
  /** To be opened by a network, which closes them. */
  left: TunPort;
  right: TunPort;
  /** Puts an IP packet in as if it came from the other port. */
  put(into: 'left' | 'right', packet: Uint8Array): void;
}

/** @param name of both, for messages */
export function pairedTuns(name: string): PairedTuns {
  const [left, right] = native().tunPair();
  return {
    left: port(left, name),
    right: port(right, name),
    put(into, packet) {
      const framed = new Uint8Array(VIRTIO_HEADER + packet.length);
      framed.set(packet, VIRTIO_HEADER);
      writeSync(into === 'left' ? right : left, framed);
    },
  };
}

function port(fd: number, name: string): TunPort {
  const handle = { fd, name, index: 0, vnetHeader: VIRTIO_HEADER };
  return new TunPort({ ...DEVICE, name }, { ...handle, offloads: OFFLOADS });
}

/** An IPv4 packet of the length that ping sends, 84 bytes, with nothing but zeros in it. */
export function pingSized(from: string, to: string, protocol: number = Protocol.Icmp): Uint8Array {
  const bytes = new Uint8Array(84);
  bytes.set([0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, protocol]);
  bytes.set(parseIp(from).bytes, 12);
  bytes.set(parseIp(to).bytes, 16);
  return bytes;
}
