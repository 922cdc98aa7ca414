/** Counts packets, bytes and flows in each direction. */
import { defineVnf } from '../vnf/define.ts';

/** Of one flow: wire packets and bytes there, and back. */
export type FlowCounts = [packets: number, bytes: number, packetsBack: number, bytesBack: number];

export const counter = defineVnf<FlowCounts>({
  name: 'counter',
  module: import.meta.url,
  export: 'counter',
  superframes: true,
  state: () => [0, 0, 0, 0],
  process(packet, flow, ctx) {
    const { segments, wireBytes } = packet;
    const counts = flow.state;
    if (flow.isNew) ctx.count('flows');
    if (flow.direction === 'there') {
      counts[0] += segments;
      counts[1] += wireBytes;
      ctx.count('there.packets', segments);
      ctx.count('there.bytes', wireBytes);
    } else {
      counts[2] += segments;
      counts[3] += wireBytes;
      ctx.count('back.packets', segments);
      ctx.count('back.bytes', wireBytes);
    }
    return 'forward';
  },
});
