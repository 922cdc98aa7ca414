/**
 * A client of service chains: this host's packets for some prefixes go through a TUN and a tunnel to an ingress. Nothing here knows of
 * chains; that the client is a host like any other is the point of it.
 *
 *     const client = new ChainClient({ ingress: '192.0.2.10', addresses: ['10.8.0.2/24'], to: ['203.0.113.0/24'] });
 *     await client.start();
 */
import { z } from 'zod';
import { checkOptions } from '../../engine/options.ts';
import { TunConnector } from '../../tunnel/connector/tunconnector.ts';
import { CLIENT_PORT } from '../ingress/ingress.ts';
import { interfaceAddress, interfaceName, prefix } from '../member/options.ts';

const schema = z.strictObject({
  /** Address or host name of the ingress. */
  ingress: z.string().min(1),
  port: z.int().min(1).max(65_535).default(CLIENT_PORT),
  interface: interfaceName.default('chain0'),
  /** Inner addresses of this host, in the network of the ingress. */
  addresses: z.array(interfaceAddress).min(1),
  /** What goes through the chains; `default` for everything. */
  to: z.array(z.union([z.literal('default'), prefix])).min(1),
  /** Networks behind this host, which go through the chains, too. */
  announce: z.array(prefix).default([]),
  /** Of the TUN, bytes; found out when left out. */
  mtu: z.int().min(576).max(65_535).optional(),
  thread: z.enum(['main', 'worker']).default('main'),
});

export type ChainClientOptions = z.input<typeof schema>;

export class ChainClient extends TunConnector {
  /** Nothing happens before `start`. @throws ERR_CONFIG */
  constructor(options: ChainClientOptions) {
    const {
      ingress: remote,
      port,
      interface: name,
      addresses,
      to,
      announce,
      mtu,
      thread,
    } = checkOptions(schema, options);
    const client = { remote, port, interface: name, addresses, routes: to, announce };
    super({ client, thread, ...(mtu !== undefined && { mtu }) }, { warmUp: true });
  }
}
