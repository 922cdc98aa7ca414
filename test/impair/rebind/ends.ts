/** The two ends of a packet as text, `10.0.0.1:5000`. */
import { formatIpAt } from '../../../src/packet/address.ts';

export function endsOf(bytes: Uint8Array): { from: string; to: string } {
  const six = bytes[0] >> 4 === 6;
  const [source, destination, ports] = six ? [8, 24, 40] : [12, 16, 20];
  const end = (address: number, port: number) => {
    const text = formatIpAt(bytes, address, six ? 6 : 4);
    return `${six ? `[${text}]` : text}:${(bytes[port] << 8) | bytes[port + 1]}`;
  };
  return { from: end(source, ports), to: end(destination, ports + 2) };
}
