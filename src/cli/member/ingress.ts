/** `tunconnector ingress`: where packets of unmodified hosts come into service chains. */
import { Command, Option } from 'commander';
import { CLIENT_PORT, Ingress } from '../../proxy/ingress/ingress.ts';
import { usageError } from '../exit.ts';
import { addEndFlags, type EndFlags, endOptions, many, wholeNumber } from './options.ts';
import { runChainEnd } from './run-end.ts';

interface Flags extends EndFlags {
  tunnel?: string[];
  listen?: string;
  port?: string;
  allow?: string[];
  tun?: string;
  address?: string[];
  route?: string[];
}

export function ingressCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new Command('tunconnector ingress').description(
    'Takes packets of hosts that know nothing of chains, classifies their flows, and sends them along the chains that Roulette has.',
  );
  const clients = (option: Option) => command.addOption(option.helpGroup('Where clients come from:'));
  clients(
    new Option(
      '--tunnel <address>',
      'clients come through a tunnel: ADDRESS/LENGTH of the ingress in their network; may stand several times',
    ).argParser(many),
  );
  clients(new Option('--listen <address>', 'address of the tunnel; every one of this host otherwise'));
  clients(new Option('--port <number>', `UDP port of the tunnel (${CLIENT_PORT})`));
  clients(
    new Option('--allow <prefix>', 'outer networks that clients may come from; any otherwise').argParser(
      many,
    ),
  );
  clients(new Option('--tun <name>', 'or packets are routed into a TUN of this host, which is made'));
  clients(new Option('--address <address>', 'ADDRESS/LENGTH of the TUN').argParser(many));
  clients(
    new Option(
      '--route <prefix>',
      'what goes into the TUN; with --tunnel, networks behind clients',
    ).argParser(many),
  );
  return addEndFlags(command)
    .addHelpText(
      'after',
      `
Examples:
  tunconnector ingress --roulette http://10.9.0.1:7590 --tunnel 10.8.0.1/24
  tunconnector ingress --roulette http://10.9.0.1:7590 \\
    --tun chain0 --route 203.0.113.0/24
  tunconnector ingress --config ingress.yaml --metrics --json`,
    )
    .action(async (flags: Flags) => {
      done(await run(flags));
    });
}

function run(flags: Flags): Promise<number> {
  const { tunnel, listen, port, allow, tun, address, route: routes } = flags;
  if ((tunnel === undefined) === (tun === undefined))
    throw usageError(
      'give one of --tunnel and --tun: clients come through a tunnel, or are routed into a TUN',
    );
  if (tun !== undefined && (listen ?? port ?? allow) !== undefined)
    throw usageError('--listen, --port and --allow go with --tunnel');
  if (tunnel && address) throw usageError('--address goes with --tun', 'the address of a tunnel is --tunnel');
  const from = tunnel
    ? {
        tunnel: {
          addresses: tunnel,
          ...(listen !== undefined && { listen }),
          ...(port !== undefined && { port: wholeNumber('--port', port, 65_535) }),
          ...(allow && { allow }),
          ...(routes && { routes }),
        },
      }
    : { tun: { name: tun!, ...(address && { addresses: address }), ...(routes && { routes }) } };
  const ingress = new Ingress({ ...endOptions(flags), ...from }, { warmUp: true });
  return runChainEnd(ingress, flags, 'end.inside');
}
