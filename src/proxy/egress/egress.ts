/**
 * The egress of service chains: where packets leave for the hosts they are for, and where the replies come back. It has a TUN; between the
 * chain and the TUN is a source NAT in userspace, or nothing: then the hosts outside need a route to the clients by way of this one.
 *
 *     const egress = new Egress({ roulette: ['http://10.9.0.1:7590'], tenant: 42, nat: ['192.0.2.80'] });
 *     await egress.start();
 *     ...
 *     await egress.close();
 */
import { z } from 'zod';
import { nat, natSchema, outerAddresses } from '../../chain/nat/app.ts';
import { checkOptions } from '../../engine/options.ts';
import { formatIp } from '../../packet/address.ts';
import { tun } from '../../tun/tun.ts';
import { ChainEnd, type Inside } from '../member/chain-end.ts';
import { setUpTun } from '../member/interface.ts';
import {
  interfaceAddress,
  interfaceName,
  type MemberManner,
  memberSchema,
  prefix,
} from '../member/options.ts';

/** What of the NAT is to be chosen, beside its addresses. */
const { sessions, perSource, tcp, tcpTransitory, udp, udpQuestion, icmp } = natSchema.shape;

const schema = z
  .strictObject({
    ...memberSchema,
    /** The TUN's name. */
    interface: interfaceName.default('chain0'),
    /** Of the TUN: where its ICMP errors come from. */
    addresses: z.array(interfaceAddress).default([]),
    /** Outer addresses and small prefixes that clients leave with. Hosts outside must find them by way of this one. */
    nat: z.array(prefix).default([]),
    /** Of the NAT: flows at a time in all and of one client, idle times. */
    natLimits: z
      .strictObject({ sessions, perSource, tcp, tcpTransitory, udp, udpQuestion, icmp })
      .prefault({}),
    /** Without `nat`: the clients' networks, whose replies go back into the chain. */
    routes: z.array(prefix).default([]),
    /** This host passes on packets to others, not only to itself. */
    forward: z.boolean().default(true),
  })
  .refine(({ nat, routes }) => nat.length > 0 || routes.length > 0, {
    error: 'expected nat or routes: replies have to find their way back',
  });

export type EgressOptions = z.input<typeof schema>;

export class Egress extends ChainEnd {
  /** Nothing happens before `start`. @throws ERR_CONFIG */
  constructor(options: EgressOptions, manner: MemberManner = {}) {
    const checked = checkOptions(schema, options);
    super('egress', checked, (mtu) => insideOf(checked, mtu), manner);
  }
}

function insideOf(options: z.output<typeof schema>, mtu: number): Inside {
  const { interface: name, addresses, nat: outer, natLimits, routes, forward } = options;
  const device = tun({ name });
  const wiring: Pick<Inside, 'apps' | 'links'> =
    outer.length > 0
      ? {
          apps: { nat: nat({ addresses: outer, ...natLimits }), tun: device },
          links: [
            'end.inside -> nat.inside',
            'nat.inside -> end.inside',
            'nat.outside -> tun.in',
            'tun.out -> nat.outside',
          ],
        }
      : { apps: { tun: device }, links: ['end.inside -> tun.in', 'tun.out -> end.inside'] };
  return {
    ...wiring,
    // With a NAT, routers and clients know it by the addresses that packets leave with.
    addresses: [...addresses, ...outerAddresses(outer).map(formatIp)],
    interface: name,
    setUp: (system, made) =>
      setUpTun(system, made, { addresses, routes: [...outer, ...routes], mtu, forward }),
  };
}
