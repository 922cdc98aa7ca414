/**
 * Before a member of chains starts, packets run through its code: a whole chain of its own in the thread that the member's packets will
 * have, joined over loopback. V8 has compiled the path then, which the first packets of every flow would make it do one function after
 * the other, each with a pause for the packets that come just then. As for tunnels, docs/decisions/010 has the reasons.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AppSpec } from '../../engine/app.ts';
import type { Attachable } from '../../engine/attach.ts';
import { LiveRuntime } from '../../engine/live-runtime.ts';
import { Network } from '../../engine/network.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { warmingUpBy, warmUpBy } from '../../engine/warm-up.ts';
import { pairedTuns } from '../../tun/live-paired-tuns.ts';
import { standIn } from './stand-ins.ts';
import { Twin, type TwinOptions } from './twin.ts';

const ROUNDS = 2;
/** How long packets run in a round: ns. */
const TIME = 150 * MILLISECOND;
/** One at a time, as of a quiet flow, and some in a burst. */
const PACKETS = [1, 8];
/** What so many sources of packets need. */
const MEMORY = 64 << 20;

export interface WarmUpOptions extends TwinOptions {
  /** The function that the member is, if that is a ready-made one. */
  function?: AppSpec;
}

/** Runs in the thread of the member's network, before that starts. Returns how many packets passed the function. */
export const warmingUp = warmingUpBy(ROUNDS, round);

export const warmUp = (network: Attachable, options: WarmUpOptions): Promise<number> =>
  warmUpBy(network, import.meta.url, options);

async function round(options: WarmUpOptions, which: number): Promise<number> {
  const runtime = new LiveRuntime({ blocking: true });
  const network = new Network(runtime, { memory: MEMORY });
  try {
    const twin = new Twin(network, pairedTuns('warm-up'), standIn(options.function, which), options);
    await network.start();
    twin.tell();
    let n = 0;
    for (const count of PACKETS) {
      const end = runtime.now() + TIME / PACKETS.length;
      do {
        // Those that were on their way may be at their end by now.
        for (let k = 0; k < count; k++) twin.put(n++);
        await sleep(1);
      } while (runtime.now() < end);
    }
    const passed = network.report().links.find(({ link }) => link.startsWith('vnf.out -> '));
    return passed?.packets ?? 0;
  } finally {
    await network.close();
  }
}
