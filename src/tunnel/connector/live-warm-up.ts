/**
 * Before a tunnel starts, packets run through its code: a client and a server of their own in the thread that the tunnel
 * will have, joined over loopback outside, and inside end to end, so that what leaves one comes into the other again and
 * goes round and round. V8 has optimised the path then, which the few packets of an idle tunnel would make it do over
 * minutes, with a pause for each function. Measured in docs/decisions/010.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attachable } from '../../engine/attach.ts';
import { LiveRuntime } from '../../engine/live-runtime.ts';
import { Network } from '../../engine/network.ts';
import { MILLISECOND } from '../../engine/units.ts';
import { warmingUpBy, warmUpBy } from '../../engine/warm-up.ts';
import { pairedTuns, pingSized } from '../../tun/live-paired-tuns.ts';
import { type UdpPort, udp } from '../../tun/udp.ts';
import { type TunnelClient, tunnelClient } from '../client.ts';
import { tunnelServer } from '../server.ts';

const ROUNDS = 3;
const BREATHS = 4000;
/** How long packets may run in a round on a busy machine, and how long the client may take to be up. */
const LIMIT = 80 * MILLISECOND;
const UP_LIMIT = 500 * MILLISECOND;
/** One at a time, as in an idle tunnel, and some in a burst. */
const PACKETS = [1, 8];
/** Documentation addresses (RFC 5737), with which no packet leaves this thread. */
const CLIENT = '192.0.2.1';
const SERVER = '192.0.2.2';
const LOOPBACK = '127.0.0.1';
/** What four sources of packets need. */
const MEMORY = 32 << 20;

export interface WarmUpOptions {
  /** Set in the tunnel's options, or not: objects with other properties are others to V8. */
  mtu?: number;
}

/** Runs in the thread of the tunnel's network, before that starts. Returns how many packets left a tunnel. */
export const warmingUp = warmingUpBy(ROUNDS, round);

export const warmUp = (network: Attachable, options: WarmUpOptions): Promise<number> =>
  warmUpBy(network, import.meta.url, options);

async function round(options: WarmUpOptions): Promise<number> {
  const runtime = new LiveRuntime({ blocking: true });
  const network = new Network(runtime, { memory: MEMORY });
  const tuns = pairedTuns('warm-up');
  const outside = udp.create({ bind: `${LOOPBACK}:0`, coalesce: 'ip' }) as UdpPort;
  const join = (side: string) => {
    network.link(`${side}Tun.out -> ${side}.inside`);
    network.link(`${side}.inside -> ${side}Tun.in`);
    network.link(`${side}Udp.out -> ${side}.outside`);
    network.link(`${side}.outside -> ${side}Udp.in`);
  };
  try {
    network.app('serverTun', tuns.right);
    network.app('server', tunnelServer({ ...options, addresses: [`${SERVER}/24`], maxDatagram: 1472 }));
    network.app('serverUdp', outside);
    join('server');
    await network.start();
    const server = `${LOOPBACK}:${outside.localPort}`;
    const client = tunnelClient.create({ ...options, server, addresses: [`${CLIENT}/24`] }) as TunnelClient;
    network.app('clientTun', tuns.left);
    network.app('client', client);
    network.app('clientUdp', udp({ bind: `${LOOPBACK}:0`, coalesce: 'ip' }));
    join('client');
    await network.commit();
    while (client.state !== 'up' && runtime.now() < UP_LIMIT) await sleep(1);
    const end = runtime.now() + LIMIT;
    for (const [i, count] of PACKETS.entries()) {
      for (let n = 0; n < count; n++) {
        tuns.put('left', pingSized(CLIENT, SERVER));
        tuns.put('right', pingSized(SERVER, CLIENT));
      }
      const enough = (BREATHS * (i + 1)) / PACKETS.length;
      do await sleep(2);
      while (runtime.now() < end && network.report().breaths < enough);
    }
    const inside = network.report().links.filter(({ link }) => link.includes('.inside -> '));
    return inside.reduce((sum, { packets }) => sum + packets, 0);
  } finally {
    await network.close();
  }
}
