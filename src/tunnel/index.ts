/** TunConnector: tunnels, as apps for a network of your own or ready to run. */
export { type TunnelClientOptions, tunnelClient } from './client.ts';
export type { TunnelOptions } from './connector/options.ts';
export {
  startTunnel,
  TunConnector,
  type TunConnectorEvents,
  type TunConnectorSettings,
  type TunnelReport,
} from './connector/tunconnector.ts';
export type { TunnelNotice } from './control-link.ts';
export { type RawTunnelOptions, rawTunnel } from './raw.ts';
export { type TunnelServerOptions, tunnelServer } from './server.ts';
export { type StreamNotice, type StreamTunnelOptions, streamTunnel } from './stream/stream.ts';
