/**
 * A stateful firewall. The first rule that is for a flow, seen from who opens it, says whether there may be such flows; replies of
 * one that may be are let through, and ICMP errors about it.
 *
 *   - TCP opens with a SYN, is answered by a SYN with ACK, and is over with a RST or when both sides have said FIN;
 *   - UDP and everything else opens with any packet on the way there;
 *   - echoes open with a request, and are answered by replies.
 */
import { z } from 'zod';
import { Protocol } from '../../packet/protocol.ts';
import { Flag } from '../../packet/tcp.ts';
import type { VnfContext } from '../vnf/context.ts';
import { defineVnf, type Verdict } from '../vnf/define.ts';
import type { VnfFlow } from '../vnf/flows.ts';
import type { VnfPacket } from '../vnf/packet.ts';
import type { TcpView } from '../vnf/views.ts';
import { FlowFinder, listOf, packetMatch, ruleSchema } from './options.ts';

export const firewallSchema = z.strictObject({
  /** In order: the first that is for a flow counts. */
  rule: listOf(
    ruleSchema.refine(({ match }) => packetMatch(match), 'expected a match without tenant and VLAN'),
    2048,
  ).default([]),
  /** For flows that no rule is for. */
  default: z.enum(['allow', 'deny']).default('deny'),
  /** Flows whose beginning was not seen: rules decide as for others, or none is let through. */
  midstream: z.enum(['rules', 'deny']).default('rules'),
});

/** What a flow is at. */
export const Phase = {
  New: 0,
  Denied: 1,
  /** Opened on the way there. */
  Opening: 2,
  Open: 3,
  /** TCP: there has said FIN, or back, or both. */
  FinThere: 4,
  FinBack: 5,
  Over: 6,
} as const;
type Phase = (typeof Phase)[keyof typeof Phase];

export const firewall = defineVnf<Phase, z.input<typeof firewallSchema>, z.output<typeof firewallSchema>>({
  name: 'firewall',
  module: import.meta.url,
  export: 'firewall',
  options: firewallSchema,
  create({ rule: rules, default: otherwise, midstream }) {
    const finder = new FlowFinder(rules.map(({ match }) => match));

    /** Whether there may be such a flow. */
    function allowed(packet: VnfPacket, flow: VnfFlow<Phase>, ctx: VnfContext): boolean {
      if (flow.midstream && midstream === 'deny') return false;
      const rule = finder.find(packet, flow.direction);
      ctx.count(rule < 0 ? 'default' : `rule.${rule}`);
      return (rule < 0 ? otherwise : rules[rule].action) === 'allow';
    }

    function open(packet: VnfPacket, flow: VnfFlow<Phase>, ctx: VnfContext): Verdict {
      const { tcp, icmp } = packet;
      // Without ports no rule can be for it.
      if (packet.ip.isLaterFragment) return ctx.drop('no-flow');
      if (!flow.midstream) {
        // A flow begins on the way there.
        if (flow.direction === 'back') return ctx.drop('no-flow');
        if (tcp && (!tcp.syn || tcp.ack)) return ctx.drop('no-flow');
        if (icmp?.isEcho && !isRequest(packet)) return ctx.drop('no-flow');
      }
      if (!allowed(packet, flow, ctx)) {
        flow.state = Phase.Denied;
        return ctx.drop('denied');
      }
      // What was not seen to begin is taken to be in the middle.
      flow.state = flow.midstream && !tcp?.syn ? Phase.Open : Phase.Opening;
      if (tcp && flow.state === Phase.Open) return track(tcp, flow, ctx);
      if (tcp?.rst) flow.state = Phase.Over;
      return 'forward';
    }

    function track(tcp: TcpView, flow: VnfFlow<Phase>, ctx: VnfContext): Verdict {
      const there = flow.direction === 'there';
      const { flags } = tcp;
      const phase = flow.state;
      if (phase === Phase.Over) return ctx.drop('closed');
      if (phase === Phase.Opening) {
        if ((flags & Flag.Rst) !== 0) flow.state = Phase.Over;
        else if (there ? (flags & (Flag.Syn | Flag.Ack)) !== Flag.Syn : (flags & Flag.Syn) === 0) {
          // The answer to the SYN may have gone past, while the chain was without this function.
          if (!flow.midstream || midstream === 'deny') return ctx.drop('not-open');
          flow.state = Phase.Open;
          return track(tcp, flow, ctx);
        } else if (!there && (flags & Flag.Ack) !== 0) flow.state = Phase.Open;
        return 'forward';
      }
      if ((flags & Flag.Rst) !== 0) flow.state = Phase.Over;
      else if ((flags & Flag.Fin) !== 0) {
        const other = there ? Phase.FinBack : Phase.FinThere;
        // The last ACK, and FINs that were lost, still pass: the flow ends by silence or by a new SYN.
        if (phase !== other) flow.state = there ? Phase.FinThere : Phase.FinBack;
      }
      return 'forward';
    }

    return {
      superframes: true,
      state: () => Phase.New,
      process(packet, flow, ctx) {
        const { icmp, tcp } = packet;
        const phase = flow.state;
        if (icmp?.isError) {
          // It has the flow of the packet that it quotes.
          if (phase === Phase.New || phase === Phase.Denied) return ctx.drop('unrelated');
          return 'forward';
        }
        // The same ports again.
        const anew =
          tcp !== undefined && phase !== Phase.New && phase !== Phase.Opening && phase !== Phase.Open;
        if (phase === Phase.Denied && !(anew && isOpening(tcp))) return ctx.drop('denied');
        if (phase === Phase.New) return open(packet, flow, ctx);
        if (anew && isOpening(tcp) && flow.direction === 'there') {
          flow.state = Phase.New;
          return open(packet, flow, ctx);
        }
        if (tcp) return track(tcp, flow, ctx);
        if (icmp?.isEcho && isRequest(packet) !== (flow.direction === 'there')) return ctx.drop('no-flow');
        if (flow.direction === 'back') flow.state = Phase.Open;
        return 'forward';
      },
    };
  },
});

const isOpening = (tcp: TcpView): boolean => (tcp.flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === Flag.Syn;

/** An echo request, where it is an echo. */
function isRequest({ ip, icmp }: VnfPacket): boolean {
  return ip.protocol === Protocol.Icmp ? icmp!.type === 8 : icmp!.type === 128;
}
