/**
 * The chain port of a function takes nothing in before its hop knows the chains: what comes before that would be dropped as a stranger's, and
 * the thread that takes over from another would lose packets.
 */
import type { Hop } from '../../chain/hop/hop.ts';
import type { VnfApp } from '../../chain/vnf/app.ts';
import type { Attached } from '../../engine/attach.ts';
import { MILLISECOND, SECOND } from '../../engine/units.ts';
import type { inheritedUdp } from '../../tunnel/connector/live-inherited-udp.ts';

/** ns to wait for the update that goes before this, on another channel. */
const LIMIT = SECOND;

type Port = ReturnType<typeof inheritedUdp.create> & { resume(): void };

export interface GateOptions {
  /** Names of the apps. */
  hop: string;
  port: string;
  vnf: string;
  /** What a datagram to another member has room for: bytes. */
  room: number;
  /** Wait until the hop has been told which replica it is. */
  isKnown: boolean;
}

/** To be attached. */
export const openGate: Attached<GateOptions> = async (network, options) => {
  const { hop: hopName, port: portName, vnf: vnfName, isKnown, room } = options;
  const { runtime } = network;
  const vnf = network.get<VnfApp>(vnfName);
  // Not each app that can be a function makes packets longer.
  if ('room' in vnf) vnf.room = room;
  const hop = network.get<Hop>(hopName);
  const limit = runtime.now() + LIMIT;
  while (isKnown && hop.tables.own === 0 && runtime.now() < limit)
    await new Promise<void>((resolve) => runtime.timer(runtime.now() + MILLISECOND, () => resolve()));
  network.get<Port>(portName).resume();
};

export const gate = (options: GateOptions) => ({ module: import.meta.url, export: 'openGate', options });
