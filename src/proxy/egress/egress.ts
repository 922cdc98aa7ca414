/**
 * The egress of service chains: where packets leave for the hosts they are for, and where the replies come back. It has a TUN; between the
 * chain and the TUN is a source NAT in userspace, or nothing: then the hosts outside need a route to the clients by way of this one. Or it
 * has no TUN, but opens ordinary sockets to the hosts, and needs neither root nor routes.
 *
 *     const egress = new Egress({ roulette: ['http://10.9.0.1:7590'], tenant: 42, nat: ['192.0.2.80'] });
 *     await egress.start();
 *     ...
 *     await egress.close();
 */
import { z } from 'zod';
import { nat, natSchema, outerAddresses } from '../../chain/nat/app.ts';
import { deliver } from '../../deliver/deliver.ts';
import { limitsShape, reachShape } from '../../deliver/options.ts';
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

/** RFC 8200, 5. Narrower links are found out about on the way. */
const LEAST_MTU = 1280;

const schema = z
  .strictObject({
    ...memberSchema,
    /** The TUN's name. */
    interface: interfaceName.default('chain0'),
    /** How packets get to their hosts: through the kernel, by way of a TUN, or over sockets of this process. */
    deliver: z.enum(['kernel', 'sockets']).default('kernel'),
    /** With sockets: what may be reached, and what stands for what. */
    ...reachShape,
    /** With sockets: how many, and for how long. */
    deliverLimits: z.strictObject(limitsShape).prefault({}),
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
  .refine(({ deliver, nat, routes }) => deliver === 'sockets' || nat.length > 0 || routes.length > 0, {
    error: 'expected nat or routes: replies have to find their way back',
  })
  .refine(({ deliver, nat, routes }) => deliver === 'kernel' || (nat.length === 0 && routes.length === 0), {
    error: 'found nat or routes with deliver: sockets, which needs neither',
  })
  .refine(
    ({ deliver, allow, deny, map }) => deliver === 'sockets' || allow.length + deny.length + map.length === 0,
    {
      error: 'found allow, deny or map without deliver: sockets',
    },
  );

export type EgressOptions = z.input<typeof schema>;

export class Egress extends ChainEnd {
  /** Nothing happens before `start`. @throws ERR_CONFIG */
  constructor(options: EgressOptions, manner: MemberManner = {}) {
    const checked = checkOptions(schema, options);
    super('egress', checked, (mtu) => insideOf(checked, mtu), manner);
  }
}

function insideOf(options: z.output<typeof schema>, mtu: number): Inside {
  if (options.deliver === 'sockets') return withSockets(options, mtu);
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

function withSockets(options: z.output<typeof schema>, mtu: number): Inside {
  const { addresses, allow, deny, map, deliverLimits } = options;
  const own = addresses.map((text) => text.split('/')[0]!);
  return {
    apps: {
      deliver: deliver({ ...deliverLimits, allow, deny, map, addresses: own, mtu: Math.max(mtu, LEAST_MTU) }),
    },
    links: ['end.inside -> deliver.inside', 'deliver.inside -> end.inside'],
    addresses,
    setUp: async () => {},
  };
}
