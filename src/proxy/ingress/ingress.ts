/**
 * The ingress of service chains: where the packets of unmodified hosts come in. They come out of a tunnel, whose server it is, or of a TUN
 * that this host routes them into.
 *
 *     const ingress = new Ingress({ roulette: ['http://10.9.0.1:7590'], tenant: 42, tunnel: { addresses: ['10.8.0.1/24'] } });
 *     await ingress.start();
 *     ...
 *     await ingress.close();
 */
import { z } from 'zod';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';
import { tun } from '../../tun/tun.ts';
import { udp } from '../../tun/udp.ts';
import { liveOutside } from '../../tunnel/connector/live-outside.ts';
import { tunnelServer } from '../../tunnel/server.ts';
import { ChainEnd, type Inside } from '../member/chain-end.ts';
import { setUpTun } from '../member/interface.ts';
import {
  interfaceAddress,
  interfaceName,
  type MemberManner,
  memberSchema,
  prefix,
} from '../member/options.ts';

/** The same as that of the tunnel's server. */
export const CLIENT_PORT = 55_556;
/** IPv4 and UDP header around each of the tunnel's datagrams. */
const OUTER_HEADERS = 28;

const schema = z
  .strictObject({
    ...memberSchema,
    /** Clients come through a tunnel (format `udp`). */
    tunnel: z
      .strictObject({
        /** Inner addresses of the ingress, with the network in which the clients have theirs. */
        addresses: z.array(interfaceAddress).min(1),
        /** Address to listen on; every one of this host when left out. */
        listen: z.string().optional(),
        port: z.int().min(1).max(65_535).default(CLIENT_PORT),
        /** Inner networks behind clients. */
        routes: z.array(prefix).default([]),
        /** Outer networks from which clients may come; any when empty. */
        allow: z.array(prefix).default([]),
        maxClients: z.int().min(1).max(2048).default(256),
      })
      .optional(),
    /** Clients' packets are routed into a TUN of this host. */
    tun: z
      .strictObject({
        name: interfaceName.default('chain0'),
        addresses: z.array(interfaceAddress).default([]),
        /** What goes into chains. */
        routes: z.array(prefix).default([]),
        /** This host passes on packets of others, not only its own. */
        forward: z.boolean().default(true),
      })
      .optional(),
  })
  .refine(({ tunnel, tun }) => (tunnel === undefined) !== (tun === undefined), {
    error: 'expected one of tunnel and tun: clients come through a tunnel, or are routed into a TUN',
  });

export type IngressOptions = z.input<typeof schema>;
type Checked = z.output<typeof schema>;

export class Ingress extends ChainEnd {
  /** Nothing happens before `start`. @throws ERR_CONFIG */
  constructor(options: IngressOptions, manner: MemberManner = {}) {
    const checked = checkOptions(schema, options);
    const inside = (mtu: number) =>
      checked.tunnel ? tunnelInside(checked.tunnel, checked, mtu) : tunInside(checked.tun!, mtu);
    super('ingress', checked, inside, manner);
  }
}

function tunnelInside(tunnel: NonNullable<Checked['tunnel']>, { gso, gro }: Checked, mtu: number): Inside {
  const { addresses, routes, allow, maxClients, port } = tunnel;
  const listen = tunnel.listen ?? liveOutside.anyAddress();
  const bind = listen.includes(':') ? `[${listen}]:${port}` : `${listen}:${port}`;
  return {
    apps: {
      tunnel: tunnelServer({ addresses, routes, allow, maxClients, maxDatagram: mtu - OUTER_HEADERS }),
      clients: udp({ bind, gso, gro, coalesce: gro ? 'ip' : 'none' }),
    },
    links: [
      'clients.out -> tunnel.outside',
      'tunnel.outside -> clients.in',
      'tunnel.inside -> end.inside',
      'end.inside -> tunnel.inside',
    ],
    addresses,
    setUp: async () => {},
  };
}

function tunInside({ name, addresses, routes, forward }: NonNullable<Checked['tun']>, mtu: number): Inside {
  return {
    apps: { tun: tun({ name }) },
    links: ['tun.out -> end.inside', 'end.inside -> tun.in'],
    addresses,
    interface: name,
    setUp: (system, made) => {
      if (made === '') throw new TunconnectorError('ERR_TUN_OPEN', 'the TUN has no name');
      return setUpTun(system, made, { addresses, routes, mtu, forward });
    },
  };
}
