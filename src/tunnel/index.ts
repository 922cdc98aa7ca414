/** TunConnector: tunnels, as apps for a network of your own or ready to run. */
export { type TunnelClientOptions, tunnelClient } from './client.ts';
export type { TunnelNotice } from './control-link.ts';
export { type RawTunnelOptions, rawTunnel } from './raw.ts';
export { type TunnelServerOptions, tunnelServer } from './server.ts';
