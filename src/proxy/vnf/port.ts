/** The chain port of a function: a socket of the process, which its threads are lent one after the other. */
import { native } from '../../native/load.ts';
import { parseEndpoint } from '../../packet/prefix.ts';
import { systemError } from '../../tun/system-error.ts';
import { trusted } from '../../tun/udp-self-test.ts';

/** Bytes: what comes while one thread takes over from another waits here. */
const BUFFER = 8 << 20;

export interface ChainPort {
  fd: number;
  family: 4 | 6;
  port: number;
  /** What the kernel granted. */
  gso: boolean;
  gro: boolean;
}

/** @param text `10.0.0.1:4790` @throws ERR_PORT_IN_USE, ERR_SOCKET, ERR_PERMISSION */
export function openChainPort(text: string, wanted: { gso: boolean; gro: boolean }): ChainPort {
  const { address, port } = parseEndpoint(text);
  const bytes = new Uint8Array(16);
  bytes.set(address.bytes);
  const { gso, gro } = trusted(wanted);
  const { family } = address;
  const place = { family, address: bytes, scope: 0, port, dualStack: false, device: '', netns: '' };
  try {
    const opened = native().udpOpen({ ...place, reuse: false, buffer: BUFFER, gso, gro });
    return { fd: opened.fd, family, port: opened.port, gso: opened.gso, gro: opened.gro };
  } catch (error) {
    throw systemError(error, `the UDP port ${text}`);
  }
}

export function closeChainPort({ fd }: ChainPort): void {
  native().close(fd);
}
