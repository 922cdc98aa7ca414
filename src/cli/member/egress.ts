/** `tunconnector egress`: where packets leave service chains for the hosts they are for. */
import { Command, Option } from 'commander';
import { Egress } from '../../proxy/egress/egress.ts';
import { usageError } from '../exit.ts';
import { addEndFlags, type EndFlags, endOptions, many, wholeNumber } from './options.ts';
import { runChainEnd } from './run-end.ts';

interface Flags extends EndFlags {
  interface?: string;
  address?: string[];
  nat?: string[];
  route?: string[];
  weight?: string;
}

export function egressCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new Command('tunconnector egress').description(
    'Delivers packets that have gone through their chain, and sends the replies back the same way.',
  );
  const outside = (option: Option) => command.addOption(option.helpGroup('Where packets go:'));
  outside(
    new Option(
      '--nat <prefix>',
      'addresses that clients leave with; hosts outside must find them by way of this one',
    ).argParser(many),
  );
  outside(
    new Option('--route <prefix>', 'without --nat: networks of clients, whose replies go back').argParser(
      many,
    ),
  );
  outside(new Option('--interface <name>', 'of the TUN to make (chain0)'));
  outside(new Option('--address <address>', 'ADDRESS/LENGTH of the TUN, for ICMP errors').argParser(many));
  outside(new Option('--weight <number>', 'share of the flows beside other egresses, 1 to 1000 (1)'));
  return addEndFlags(command)
    .addHelpText(
      'after',
      `
Examples:
  tunconnector egress --roulette http://10.9.0.1:7590 --nat 198.51.100.80
  tunconnector egress --roulette http://10.9.0.1:7590 --route 10.8.0.0/24
  tunconnector egress --config egress.yaml --metrics --json`,
    )
    .action(async (flags: Flags) => {
      done(await run(flags));
    });
}

function run(flags: Flags): Promise<number> {
  const { interface: name, address, nat, route, weight } = flags;
  if (!nat && !route) throw usageError('give --nat or --route: replies have to find their way back');
  const egress = new Egress(
    {
      ...endOptions(flags),
      ...(name !== undefined && { interface: name }),
      ...(address && { addresses: address }),
      ...(nat && { nat }),
      ...(route && { routes: route }),
      ...(weight !== undefined && { weight: wholeNumber('--weight', weight, 1000) }),
    },
    { warmUp: true },
  );
  return runChainEnd(egress, flags, 'tun');
}
