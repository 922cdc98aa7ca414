/**
 * Spreads flows over back-ends: writes one's address into where a flow goes, by rendezvous hashing over the flow's id, and the
 * address that was called into its replies. A flow keeps its back-end for as long as it is known; one that is not known any more
 * draws the same again.
 */
import { z } from 'zod';
import { ReplicaSet } from '../placement.ts';
import { defineVnf } from '../vnf/define.ts';
import type { PacketEnd } from '../vnf/packet.ts';
import { endSchema, FlowFinder, listOf, matchSchema, packetMatch } from './options.ts';
import { keepEnd, keptEnd } from './rewrite.ts';

/** `10.0.1.1:80`, or with `weight 2` behind it. */
const backend = z
  .string()
  .transform((text, context) => {
    const [, end, weight = '1'] = /^(\S+?)(?:\s+weight\s+(\d{1,4}))?$/.exec(text.trim()) ?? [];
    if (end !== undefined && Number(weight) >= 1) return { end, weight: Number(weight) };
    context.addIssue({
      code: 'custom',
      message: 'expected an address such as 10.0.1.1:80, or 10.0.1.1:80 weight 2',
    });
    return z.NEVER;
  })
  .pipe(z.object({ end: endSchema, weight: z.number() }));

export const balanceSchema = z
  .strictObject({
    /** Flows that are spread, by where they go. */
    match: matchSchema.refine(packetMatch, 'expected a match without tenant and VLAN'),
    backend: listOf(backend, 1024),
  })
  .refine(({ backend }) => backend.length > 0, { path: ['backend'], message: 'expected a back-end' });

interface Balanced {
  /** Text of the back-end; null when the flow is not one to be spread. */
  backend: string | null;
  /** What was called, as `keepEnd` has it. */
  called: number[];
}

export const balance = defineVnf<
  Balanced | null,
  z.input<typeof balanceSchema>,
  z.output<typeof balanceSchema>
>({
  name: 'balance',
  module: import.meta.url,
  export: 'balance',
  options: balanceSchema,
  create({ match, backend }) {
    const finder = new FlowFinder([match]);
    const ends = new Map(backend.map(({ end }) => [end.text, end]));
    // By family: a flow of IPv4 cannot go to IPv6.
    const sets = ([4, 6] as const).map((version) => {
      const replicas = backend.flatMap(({ end, weight }, i) =>
        end.version === version ? [{ id: i + 1, weight, state: 'ready' as const }] : [],
      );
      return new ReplicaSet(replicas);
    });
    const to: PacketEnd = { version: 4, words: new Int32Array(4), port: 0 };
    return {
      superframes: true,
      state: () => null,
      process(packet, flow, ctx) {
        const there = flow.direction === 'there';
        let state = flow.state;
        if (state === null) {
          if (!there || packet.icmp?.isError || packet.ip.isLaterFragment) {
            // Nobody knows what was called.
            ctx.count('unknown');
            return 'forward';
          }
          const wanted = finder.find(packet, 'there') >= 0;
          state = { backend: wanted ? '' : null, called: wanted ? keepEnd(packet.end('destination')) : [] };
          flow.state = state;
        }
        if (state.backend === null) return 'forward';
        if (!ends.has(state.backend)) {
          const id = sets[packet.ip.version === 4 ? 0 : 1].pick(flow.high, flow.low);
          if (id === 0) return ctx.drop('no-backend');
          const { text } = backend[id - 1].end;
          // It was another one's, which is gone.
          if (state.backend !== '') ctx.count('moved');
          state.backend = text;
          ctx.count(`flows.${text}`);
        }
        if (there) {
          const end = ends.get(state.backend)!;
          to.words.set(end.words);
          to.port = end.port === 0 ? state.called[4] : end.port;
          packet.translate('destination', to);
        } else {
          packet.translate('source', keptEnd(state.called));
        }
        return 'forward';
      },
    };
  },
});
