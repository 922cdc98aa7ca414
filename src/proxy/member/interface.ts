/** The TUN of an end of chains, and what the machine has to know of it. */
import { parsePrefix } from '../../packet/prefix.ts';
import { configureInterface } from '../../tun/system/live-ip.ts';
import type { SystemChanges } from '../../tun/system/live-system.ts';

/** Superframes wait here, too: see the tunnel's. */
const QUEUE_LENGTH = 2000;

export interface TunSettings {
  addresses: string[];
  /** What the kernel sends into it. */
  routes: string[];
  mtu: number;
  /** This host passes on packets of others. */
  forward: boolean;
}

export async function setUpTun(
  system: SystemChanges,
  name: string,
  { addresses, routes, mtu, forward }: TunSettings,
): Promise<void> {
  await configureInterface({
    ...{ name, addresses, mtu, up: true, addressGeneration: 'none', txQueueLength: QUEUE_LENGTH },
    routes: routes.map((prefix) => ({ prefix })),
  });
  const families = [...new Set([...routes, ...addresses].map((text) => familyOf(text)))];
  if (forward && families.length > 0) await system.enableForwarding(families);
}

const familyOf = (text: string) => parsePrefix(text, { hostBits: true, length: 'host' }).address.family;
