/** `tunconnector client`: this host's packets for some networks go through service chains. */
import { Command, Option } from 'commander';
import type { ServedMetrics } from '../../control/member/metrics.ts';
import type { Thread } from '../../engine/live-hosted.ts';
import { ChainClient } from '../../proxy/client/client.ts';
import { CLIENT_PORT } from '../../proxy/ingress/ingress.ts';
import { errorLine, usageError } from '../exit.ts';
import { runTunnel } from '../tunnel.ts';
import { packageVersion } from '../version.ts';
import {
  addCommandFlags,
  addThreadFlag,
  type CommandFlags,
  many,
  metricsAddress,
  tokenOf,
  wholeNumber,
} from './options.ts';

interface Flags extends CommandFlags {
  thread: Thread;
  ingress?: string;
  port?: string;
  address?: string[];
  to?: string[];
  announce?: string[];
  interface?: string;
  mtu?: string;
}

export function clientCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new Command('tunconnector client').description(
    'Takes the packets of this host for some networks, and of networks behind it, to an ingress of service chains.',
  );
  const way = (option: Option) => command.addOption(option.helpGroup('The way:'));
  way(new Option('--ingress <host>', 'address or name of the ingress'));
  way(new Option('--port <number>', `its UDP port (${CLIENT_PORT})`));
  way(
    new Option('--address <address>', 'ADDRESS/LENGTH of this host in the network of the ingress').argParser(
      many,
    ),
  );
  way(new Option('--to <prefix>', 'what goes through the chains; default for everything').argParser(many));
  way(new Option('--announce <prefix>', 'a network behind this host').argParser(many));
  way(new Option('--interface <name>', 'of the TUN to make (chain0)'));
  way(new Option('--mtu <bytes>', 'of the TUN; found out otherwise'));
  return addThreadFlag(addCommandFlags(command))
    .addHelpText(
      'after',
      `
Examples:
  tunconnector client --ingress 192.0.2.10 \\
    --address 10.8.0.2/24 --to 203.0.113.0/24
  tunconnector client --ingress ingress.example \\
    --address 10.8.0.2/24 --address fd08::2/64 --to default`,
    )
    .action(async (flags: Flags) => {
      done(await run(flags));
    });
}

async function run(flags: Flags): Promise<number> {
  const { ingress, port, address, to, announce, interface: name, mtu, thread } = flags;
  if (ingress === undefined) throw usageError('--ingress is missing', 'name the host of the ingress');
  if (!address) throw usageError('--address is missing', 'give this host one in the network of the ingress');
  if (!to) throw usageError('--to is missing', 'name the networks that are reached through chains');
  const client = new ChainClient({
    ingress,
    addresses: address,
    to,
    thread,
    ...(port !== undefined && { port: wholeNumber('--port', port, 65_535) }),
    ...(announce && { announce }),
    ...(name !== undefined && { interface: name }),
    ...(mtu !== undefined && { mtu: wholeNumber('--mtu', mtu, 65_535) }),
  });
  const metrics = serving(client, flags);
  const { json, pcap, verbose } = flags;
  const settings = {
    ...(json && { json }),
    ...(pcap !== undefined && { pcap }),
    ...(verbose && { verbose }),
  };
  try {
    return await runTunnel(settings, client);
  } finally {
    await (await metrics)?.close();
  }
}

/** From the moment in which the client is up. */
function serving(client: ChainClient, { metrics }: Flags): Promise<ServedMetrics | undefined> {
  const address = metricsAddress(metrics);
  if (!address) return Promise.resolve(undefined);
  const token = tokenOf(undefined);
  return (async () => {
    const { serveMetrics } = await import('../../control/member/metrics.ts');
    const figures = async () => ({ role: 'client', network: (await client.report()).ends[0]!.network });
    const options = { address, version: packageVersion(), ...(token !== undefined && { token }) };
    return serveMetrics(figures, options).catch((error: unknown) => {
      // Packets go on without figures.
      process.stderr.write(`tunconnector: ${errorLine(error)}\n`);
      return undefined;
    });
  })();
}
