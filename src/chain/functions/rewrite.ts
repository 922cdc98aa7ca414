/**
 * Writes other values into headers. Addresses and ports that are changed on the way there are put back in the replies, so that
 * whoever opened the flow hears from the address that it called.
 */
import { z } from 'zod';
import { dscpSchema } from '../../engine/flow-match.ts';
import { defineVnf } from '../vnf/define.ts';
import type { PacketEnd } from '../vnf/packet.ts';
import { endSchema, FlowFinder, matchSchema, packetMatch } from './options.ts';

export const rewriteSchema = z
  .strictObject({
    /** Flows that it is for; all by default. */
    match: matchSchema.refine(packetMatch, 'expected a match without tenant and VLAN').optional(),
    source: endSchema.optional(),
    destination: endSchema.optional(),
    ttl: z.coerce.number().int().min(1).max(255).optional(),
    dscp: dscpSchema.optional(),
    /** TTL and DSCP: on packets of which direction. */
    direction: z.enum(['both', 'there', 'back']).default('both'),
  })
  .refine(
    ({ source, destination, ttl, dscp }) => [source, destination, ttl, dscp].some((v) => v !== undefined),
    {
      message: 'expected something to write: source, destination, ttl or dscp',
    },
  );

/** What it was before, of a flow: by word, port last; null where nothing is translated. */
interface Kept {
  matched: boolean;
  source: number[] | null;
  destination: number[] | null;
}

const scratch: PacketEnd = { version: 4, words: new Int32Array(4), port: 0 };

/** An end as JSON. */
export const keepEnd = ({ words, port }: PacketEnd): number[] => [...words, port];

/** One that was kept; the same object every time. */
export function keptEnd(kept: readonly number[]): PacketEnd {
  for (let i = 0; i < 4; i++) scratch.words[i] = kept[i];
  scratch.port = kept[4];
  return scratch;
}

export const rewrite = defineVnf<Kept | null, z.input<typeof rewriteSchema>, z.output<typeof rewriteSchema>>({
  name: 'rewrite',
  module: import.meta.url,
  export: 'rewrite',
  options: rewriteSchema,
  create({ match, source, destination, ttl, dscp, direction }) {
    const finder = match && new FlowFinder([match]);
    const to: PacketEnd = { version: 4, words: new Int32Array(4), port: 0 };
    /** The new end, with the port that there is where none is given. */
    const target = (end: PacketEnd, port: number): PacketEnd => {
      to.words.set(end.words);
      to.port = end.port === 0 ? port : end.port;
      return to;
    };
    return {
      superframes: true,
      state: () => null,
      process(packet, flow, ctx) {
        let kept = flow.state;
        if (kept === null) {
          // What an ICMP error quotes is not what was called, and a later fragment says nothing of ports.
          if (packet.icmp?.isError || packet.ip.isLaterFragment) return 'forward';
          const { version } = packet.ip;
          const matched = finder === undefined || finder.find(packet, flow.direction) >= 0;
          const there = flow.direction === 'there';
          const changes = (end: PacketEnd | undefined) => matched && there && end?.version === version;
          kept = {
            matched,
            source: changes(source) ? keepEnd(packet.end('source')) : null,
            destination: changes(destination) ? keepEnd(packet.end('destination')) : null,
          };
          flow.state = kept;
          if (matched) ctx.count('flows');
        }
        if (!kept.matched) return 'forward';
        const there = flow.direction === 'there';
        if (there) {
          if (kept.source) packet.translate('source', target(source!, kept.source[4]));
          if (kept.destination) packet.translate('destination', target(destination!, kept.destination[4]));
        } else {
          if (kept.source) packet.translate('destination', keptEnd(kept.source));
          if (kept.destination) packet.translate('source', keptEnd(kept.destination));
        }
        if (direction === 'both' || direction === flow.direction) {
          if (ttl !== undefined) packet.ip.ttl = ttl;
          if (dscp !== undefined) packet.ip.dscp = dscp;
        }
        return 'forward';
      },
    };
  },
});
