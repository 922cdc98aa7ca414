/** From the options that were given to what the tunnel is asked to be. Whatever would have no effect is refused. */
import { MIN_IPV6_MTU, type TunnelOptions } from '../tunnel/connector/options.ts';
import { usageError } from './exit.ts';
import { seededApps } from './impairment.ts';
import { flagsOf, OPTION_NAMES, OPTIONS, type OptionName, type Settings, specOf } from './options.ts';

type Side = 'server' | 'client';

/**
 * @param label what messages call an option: its flags, or its path in a file
 * @throws ERR_USAGE
 */
export function tunnelOptions(
  settings: Settings,
  label: (name: OptionName) => string = flagsOf,
): TunnelOptions {
  const mode = settings.mode ?? 'both';
  const format = settings.format ?? 'udp';
  const sides: Side[] = mode === 'both' ? ['server', 'client'] : [mode];
  refuseWithoutEffect(settings, sides, format, label);
  const server = sides.includes('server') ? serverEnd(settings, sides, label) : undefined;
  const client = sides.includes('client') ? clientEnd(settings, sides, label) : undefined;
  refuseContradictions(settings, server, client, label);
  return {
    ...(server && { server }),
    ...(client && { client }),
    format,
    layer: settings.tap ? 'L2' : 'L3',
    ...(settings.mtu === undefined ? {} : { mtu: settings.mtu }),
    forward: settings.forward ?? false,
    ...(settings.impair && { between: seededApps(settings.impair) }),
    thread: settings.thread ?? OPTIONS.thread.default,
    gso: !settings['no-gso'],
    gro: !settings['no-gro'],
    vnetHeader: !settings['no-vnet-hdr'],
  };
}

function refuseWithoutEffect(
  settings: Settings,
  sides: readonly Side[],
  format: NonNullable<Settings['format']>,
  label: (name: OptionName) => string,
): void {
  for (const name of OPTION_NAMES) {
    if (settings[name] === undefined) continue;
    const { side, formats } = specOf(name);
    if (side && !sides.includes(side)) {
      throw usageError(
        `${label(name)} is for a ${side}, and the mode is ${sides[0]}`,
        `leave it out or use -m ${side}`,
      );
    }
    if (formats && !formats.includes(format)) {
      throw usageError(`${label(name)} has no effect with --format ${format}`, 'leave one of them out');
    }
  }
}

function serverEnd(settings: Settings, sides: readonly Side[], label: (name: OptionName) => string) {
  const name = settings.serverinterface ?? OPTIONS.serverinterface.default;
  const alone = !sides.includes('client');
  const routes = (settings.route ?? []).filter((each) =>
    each.interface === undefined ? alone : each.interface === name,
  );
  if (routes.some(({ prefix }) => prefix === 'default')) {
    throw usageError(
      `${label('route')} default is for a client`,
      'a server lets its clients out with --nat, and they use --route default',
    );
  }
  return {
    interface: name,
    ...(settings.serverip && { addresses: settings.serverip }),
    ...(settings.listen === undefined ? {} : { listen: settings.listen }),
    ...(settings.inport === undefined ? {} : { port: settings.inport }),
    ...(settings.allow && { allow: settings.allow }),
    ...(settings['max-clients'] === undefined ? {} : { maxClients: settings['max-clients'] }),
    routes: routes.map(({ prefix }) => prefix),
    nat: settings.nat ?? false,
  };
}

function clientEnd(settings: Settings, sides: readonly Side[], label: (name: OptionName) => string) {
  const name = settings.clientinterface ?? OPTIONS.clientinterface.default;
  if (settings.remoteip === undefined) {
    const without = sides.includes('server') ? ', or -m server when this host only listens' : '';
    throw usageError(`${label('remoteip')} is missing: where is the server?`, `give -r HOST${without}`);
  }
  const routes = (settings.route ?? []).filter((each) => (each.interface ?? name) === name);
  return {
    interface: name,
    remote: settings.remoteip,
    ...(settings.clientip && { addresses: settings.clientip }),
    ...(settings.keepalive === undefined ? {} : { keepalive: settings.keepalive }),
    ...(settings.outport === undefined ? {} : { port: settings.outport }),
    ...(settings.announce && { announce: settings.announce }),
    routes: routes.map(({ prefix }) => prefix),
  };
}

function refuseContradictions(
  settings: Settings,
  server: { interface: string; addresses?: string[] } | undefined,
  client: { interface: string; addresses?: string[] } | undefined,
  label: (name: OptionName) => string,
): void {
  const names = [server?.interface, client?.interface].filter((name) => name !== undefined);
  for (const { interface: name } of settings.route ?? []) {
    if (name !== undefined && !names.includes(name)) {
      throw usageError(`${label('route')}: found the interface "${name}", expected ${names.join(' or ')}`);
    }
  }
  if (names.length === 2 && names[0] === names[1]) {
    const both = `${label('serverinterface')} and ${label('clientinterface')}`;
    throw usageError(`${both} are both ${names[0]}`, 'give each end its own');
  }
  const hasIpv6 = [server, client].some((end) => end?.addresses?.some((each) => each.includes(':')));
  if (settings.mtu !== undefined && settings.mtu < MIN_IPV6_MTU && hasIpv6) {
    throw usageError(
      `${label('mtu')}: found ${settings.mtu}, expected at least ${MIN_IPV6_MTU} with an IPv6 address inside`,
    );
  }
  if (settings.snaplen !== undefined && settings.pcap === undefined) {
    throw usageError(`${label('snaplen')} has no effect without --pcap`, 'leave it out or give --pcap FILE');
  }
  if (settings.rootless && settings.user !== undefined) {
    throw usageError(`${label('user')} has no effect with --rootless, which has no privileges to give up`);
  }
  for (const name of ['nat', 'forward'] as const) {
    if (settings.rootless && settings[name]) {
      throw usageError(
        `${label(name)} does not go with --rootless`,
        "the tunnel's namespace has no other interface that packets could leave through",
      );
    }
  }
}
