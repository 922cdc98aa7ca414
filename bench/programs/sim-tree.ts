/** A network of any size: hosts behind routers of 32 each, these behind one in the middle, and short TCP flows between hosts. */
import type { Topology } from 'tunconnector/sim';

const BEHIND_ONE = 32;
/** Of each flow. */
export const BYTES = 20_000;

/** @param flows of each host: spread over the first second */
export function tree(count: number, flows: number): Topology {
  const routers = Math.ceil(count / BEHIND_ONE);
  const topology = {
    limits: { packets: 256, flows: 256 },
    hosts: {} as Record<string, object>,
    routers: { core: {} } as Record<string, object>,
    links: {} as NonNullable<Topology['links']>,
    flows: {} as NonNullable<Topology['flows']>,
  };
  for (let r = 0; r < routers; r++) {
    topology.routers[`r${r}`] = {};
    const between: [string, string] = [`core 172.16.${r}.1/30`, `r${r} 172.16.${r}.2/30`];
    topology.links[`trunk${r}`] = { between, impair: 'delay 5ms' };
  }
  for (let n = 0; n < count; n++) {
    const [r, k] = [n % routers, Math.floor(n / routers)];
    topology.hosts[`h${n}`] = {};
    const between: [string, string] = [`r${r} 10.${r}.${k}.254/24`, `h${n} 10.${r}.${k}.1/24`];
    topology.links[`l${n}`] = { between, impair: 'delay 1ms rate 100mbit' };
    for (let f = 0; f < flows; f++) {
      // Anybody but itself.
      const to = (n + 1 + ((n * 7 + f * 13) % (count - 1))) % count;
      const at = Math.round((f * 1e9) / flows);
      topology.flows[`f${n}-${f}`] = { kind: 'tcp', from: `h${n}`, to: `h${to}`, at, bytes: BYTES };
    }
  }
  return topology;
}
