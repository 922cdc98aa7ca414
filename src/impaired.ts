/** Tunnels and TUNs with impairments in words. Rooms of one floor do not know each other; what joins two stands above. */
import type { Between } from './engine/between.ts';
import { configError } from './engine/config.ts';
import { ANSWERS, impairments } from './impair/link.ts';
import { compileSpec, type ImpairSpec } from './impair/spec/spec.ts';
import { type OpenTunOptions, openTun as openPlain, type Tun } from './tun/open-tun.ts';
import type { TunnelOptions } from './tunnel/connector/options.ts';
import {
  type RunningTunnel,
  startTunnel as startPlain,
  type TunConnectorSettings,
} from './tunnel/connector/tunconnector.ts';

interface Impaired {
  /**
   * What packets pass behind the interface: `up` those that the kernel sends into it, `down` those that come out of it.
   * Instead of `between`.
   */
  impair?: ImpairSpec;
}

export type ImpairedTunnelOptions = TunnelOptions & Impaired;
export type ImpairedTunOptions = OpenTunOptions & Impaired;

function withImpairments<T extends { between?: Between }>({ impair, ...options }: T & Impaired) {
  if (impair === undefined) return options;
  if (options.between !== undefined) throw configError('found impair and between, expected one of them');
  return { ...options, between: { ...impairments(compileSpec(impair)), links: ANSWERS } };
}

/** A tunnel that runs when the promise resolves. Events of the set-up are told right after that. */
export async function startTunnel(
  options: ImpairedTunnelOptions,
  settings: TunConnectorSettings = {},
): Promise<RunningTunnel> {
  return startPlain(withImpairments(options), settings);
}

/**
 * Makes a TUN or TAP interface, gives it its addresses and routes, and brings it up. It disappears with `close()`, or
 * with the process.
 *
 * @throws ERR_CONFIG for options that make no sense, ERR_ADDRESS, ERR_PERMISSION without CAP_NET_ADMIN, ERR_TUN_OPEN
 *   without /dev/net/tun or when the name is taken, ERR_INTERFACE for settings that the kernel refuses, ERR_NATIVE,
 *   ERR_PLATFORM off Linux, ERR_ABORTED
 */
export async function openTun(options: ImpairedTunOptions = {}): Promise<Tun> {
  return openPlain(withImpairments(options));
}
