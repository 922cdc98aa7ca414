/** Ports that are chosen for somebody: at random, so that nobody can guess them (RFC 6056, 3.3.1). */
import { TunconnectorError } from '../../errors.ts';
import type { SecretNumbers } from '../numbers.ts';

const FIRST = 32_768;
const COUNT = 65_536 - FIRST;

/** A port of which `taken` says no. @throws ERR_PORT_IN_USE when there is none */
export function choosePort(numbers: SecretNumbers, taken: (port: number) => boolean): number {
  const start = numbers.below(COUNT);
  for (let i = 0; i < COUNT; i++) {
    const port = FIRST + ((start + i) % COUNT);
    if (!taken(port)) return port;
  }
  throw new TunconnectorError('ERR_PORT_IN_USE', `all ports from ${FIRST} on are taken`);
}
