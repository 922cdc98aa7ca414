/**
 * Functions that look at packets and change them as those of users do. Before a function of a user's own starts, these are run in its
 * place: what it remembers is its own affair, and may not come from packets that never were.
 */
import type { AppSpec } from '../../engine/app.ts';
import { counter, firewall, pass } from '../functions/index.ts';
import { defineVnf, type VnfFunction } from '../vnf/define.ts';
import type { VnfPacket } from '../vnf/packet.ts';

/** Exports of ready-made functions that write files, or hold packets up. */
const NOT_RUN = new Set(['mirror', 'impairment']);

const look = ({ ip, tcp, udp, icmp, payload }: VnfPacket): number => {
  const ports = tcp ?? udp;
  const upper = ports ? ports.sourcePort + ports.destinationPort : (icmp?.type ?? 0);
  return ip.protocol + ip.ttl + upper + (payload.length > 0 ? payload.at(0) : 0);
};

const mark: VnfFunction = {
  process(packet) {
    packet.ip.dscp |= 1;
    return 'forward';
  },
};
const watch: VnfFunction<{ seen: number }> = {
  state: () => ({ seen: 0 }),
  process(packet, flow, ctx) {
    flow.state.seen += look(packet);
    ctx.count(flow.direction);
    return flow.isNew && flow.midstream ? ctx.drop('midstream') : 'forward';
  },
};

const place = { module: import.meta.url };
export const marking = defineVnf({ ...place, name: 'mark', export: 'marking', ...mark });
export const watching = defineVnf({ ...place, name: 'watch', export: 'watching', ...watch });

/** What is run where an end starts, and where a function of the user's own does: several, for V8 must not take one for all. */
const STAND_INS: readonly AppSpec[] = [
  marking({}),
  watching({}),
  counter({}),
  firewall({ default: 'allow' }),
  pass({}),
];

/** What is run in the n-th round in place of a function, if it is a ready-made one that may not be run itself, or no ready-made one. */
export function standIn(readyMade: AppSpec | undefined, n: number): AppSpec {
  if (readyMade && !NOT_RUN.has(readyMade.export)) return readyMade;
  return STAND_INS[n % STAND_INS.length];
}
