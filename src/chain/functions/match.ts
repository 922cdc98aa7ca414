/**
 * Looks for bytes in what flows say, across segments of TCP, up to a limit in each direction. Segments are searched in the order of
 * their sequence numbers: what was seen already is passed over; one that comes early is not searched, or is dropped
 * (`strict`), so that its sender sends it again in its turn.
 */
import { z } from 'zod';
import { dscpSchema } from '../../engine/flow-match.ts';
import { parseSize } from '../../impair/quantities.ts';
import type { VnfContext } from '../vnf/context.ts';
import { defineVnf, type Verdict } from '../vnf/define.ts';
import type { VnfFlow } from '../vnf/flows.ts';
import type { VnfPacket } from '../vnf/packet.ts';
import { FlowFinder, listOf, matchSchema, packetMatch } from './options.ts';
import { MAX_PATTERN_BYTES, PatternSearch } from './patterns.ts';

const encoder = new TextEncoder();

/** Text as UTF-8, or `hex:16030100`. */
const pattern = z
  .string()
  .min(1)
  .transform((text, context) => {
    if (!text.startsWith('hex:')) return { text, bytes: encoder.encode(text) };
    const digits = text.slice(4).replaceAll(' ', '');
    if (/^([0-9a-fA-F]{2})+$/.test(digits))
      return { text, bytes: Uint8Array.from(Buffer.from(digits, 'hex')) };
    context.addIssue({ code: 'custom', message: 'expected text, or hex: and pairs of hexadecimal digits' });
    return z.NEVER;
  });

const bytes = z.union([z.string(), z.number()]).transform((text, context) => {
  const value = parseSize(text);
  if (value !== undefined) return value;
  context.addIssue({ code: 'custom', message: 'expected a size such as 1500 or 64kb' });
  return z.NEVER;
});

export const matchFunctionSchema = z
  .strictObject({
    pattern: listOf(pattern, 1024),
    /** `block`: the flow ends here, in both directions; `drop`: this packet; `mark`: writes `dscp` into this and later ones. */
    action: z.enum(['block', 'drop', 'mark', 'count']).default('block'),
    dscp: dscpSchema.optional(),
    /** Flows that are searched; all by default. */
    match: matchSchema.refine(packetMatch, 'expected a match without tenant and VLAN').optional(),
    direction: z.enum(['both', 'there', 'back']).default('both'),
    /** Bytes of each flow that are searched in each direction. */
    limit: bytes.default(64 << 10),
    /** Drops TCP segments that come before those in front of them, up to the limit. */
    strict: z.stringbool().or(z.boolean()).default(false),
  })
  .refine(({ pattern }) => pattern.length > 0, { path: ['pattern'], message: 'expected a pattern' })
  .refine(({ pattern }) => pattern.reduce((sum, { bytes }) => sum + bytes.length, 0) <= MAX_PATTERN_BYTES, {
    path: ['pattern'],
    message: `expected up to ${MAX_PATTERN_BYTES} bytes in all`,
  })
  .refine(({ action, dscp }) => (action === 'mark') === (dscp !== undefined), {
    path: ['dscp'],
    message: 'expected one with the action mark, and only with it',
  });

/** Of one direction: where the search stands, bytes searched, and the next sequence number (-1: not known yet). */
type Search = [state: number, searched: number, next: number];

interface Searched {
  /** Null until the flow was classified. */
  wanted: boolean | null;
  there: Search;
  back: Search;
  /** A pattern was found. */
  hit: boolean;
}

export const match = defineVnf<
  Searched,
  z.input<typeof matchFunctionSchema>,
  z.output<typeof matchFunctionSchema>
>({
  name: 'match',
  module: import.meta.url,
  export: 'match',
  options: matchFunctionSchema,
  create({ pattern, action, dscp, match, direction, limit, strict }) {
    const finder = match && new FlowFinder([match]);
    const search = new PatternSearch(pattern.map(({ bytes }) => bytes));

    /** Searches a payload from `from` on. The pattern that was found, or -1. */
    function look({ payload }: VnfPacket, from: number, at: Search): number {
      const end = Math.min(payload.length, from + limit - at[1]);
      let state = at[0];
      let found = -1;
      for (let i = from; i < end && found < 0; i++) {
        state = search.step(state, payload.at(i));
        found = search.found(state);
      }
      at[0] = state;
      at[1] += Math.max(0, end - from);
      return found;
    }

    function tell(flow: VnfFlow<Searched>, ctx: VnfContext, found: number): void {
      ctx.count(`pattern.${found}`);
      ctx.note(`${pattern[found].text} in flow ${flow.id}`);
    }

    function act(packet: VnfPacket, ctx: VnfContext): Verdict {
      if (action === 'block' || action === 'drop') return ctx.drop('match');
      if (action === 'mark') packet.ip.dscp = dscp!;
      return 'forward';
    }

    return {
      superframes: true,
      state: () => ({ wanted: null, there: [0, 0, -1], back: [0, 0, -1], hit: false }),
      process(packet, flow, ctx) {
        const { state } = flow;
        if (state.hit && action === 'block') return ctx.drop('match');
        if (state.hit && action === 'mark') packet.ip.dscp = dscp!;
        if (direction !== 'both' && direction !== flow.direction) return 'forward';
        if (finder) {
          // A later fragment says nothing of ports; what it belongs to is known by its first.
          state.wanted ??= packet.ip.isLaterFragment ? null : finder.find(packet, flow.direction) >= 0;
          if (!state.wanted) return 'forward';
        }
        const at = state[flow.direction];
        if (at[1] >= limit) return 'forward';
        let from = 0;
        const { tcp } = packet;
        if (tcp) {
          const begins = (tcp.sequence + (tcp.syn ? 1 : 0)) >>> 0;
          if (at[2] < 0 || tcp.syn) at[2] = begins;
          // Serial numbers: how much of it was searched already.
          from = (at[2] - begins) | 0;
          if (from < 0) {
            ctx.count('early');
            return strict ? ctx.drop('early') : 'forward';
          }
          const { length } = packet.payload;
          if (from >= length) return 'forward';
          const found = look(packet, from, at);
          // What is dropped will be sent again, and searched from where it began.
          if (found < 0 || action !== 'drop') at[2] = (begins + length) >>> 0;
          else at[0] = PatternSearch.START;
          if (found < 0) return 'forward';
          state.hit = true;
          tell(flow, ctx, found);
          return act(packet, ctx);
        }
        // Each datagram on its own.
        at[0] = PatternSearch.START;
        const found = look(packet, 0, at);
        if (found < 0) return 'forward';
        state.hit = true;
        tell(flow, ctx, found);
        return act(packet, ctx);
      },
    };
  },
});
