/** `tunconnector egress`: where packets leave service chains for the hosts they are for. */
import { Command, Option } from 'commander';
import { Egress } from '../../proxy/egress/egress.ts';
import { usageError } from '../exit.ts';
import { addEndFlags, type EndFlags, endOptions, many, timeOf, wholeNumber } from './options.ts';
import { runChainEnd } from './run-end.ts';

interface Flags extends EndFlags {
  interface?: string;
  address?: string[];
  nat?: string[];
  natFlows?: string;
  natClientFlows?: string;
  natIdle?: string[];
  route?: string[];
  weight?: string;
  deliver?: 'kernel' | 'sockets';
  allow?: string[];
  deny?: string[];
  map?: string[];
  connections?: string;
  clientConnections?: string;
  flows?: string;
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
    new Option(
      '--deliver <how>',
      'through the kernel, or over sockets of this command: without root, routes and NAT (kernel)',
    ).choices(['kernel', 'sockets']),
  );
  outside(
    new Option('--allow <prefix>', 'with sockets: may be reached, although it is closed otherwise').argParser(
      many,
    ),
  );
  outside(new Option('--deny <prefix>', 'with sockets: may not be reached').argParser(many));
  outside(
    new Option(
      '--map <address=address>',
      'with sockets: what stands for what, as 192.0.2.1=127.0.0.1 or 192.0.2.1:53=127.0.0.53:53',
    ).argParser(many),
  );
  outside(new Option('--connections <number>', 'with sockets: TCP connections at a time (4096)'));
  outside(new Option('--flows <number>', 'with sockets: UDP flows at a time (4096)'));
  outside(new Option('--client-connections <number>', 'with sockets: of one client, of each kind (1024)'));
  outside(new Option('--nat-flows <number>', 'flows that the NAT has at a time (65536)'));
  outside(new Option('--nat-client-flows <number>', 'of one client (4096)'));
  outside(
    new Option(
      '--nat-idle <what=time>',
      'silence after which the NAT forgets a flow: udp=300s, question=30s, tcp=7440s, opening=240s, icmp=60s',
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
  tunconnector egress --roulette http://10.9.0.1:7590 --deliver sockets
  tunconnector egress --config egress.yaml --metrics --json`,
    )
    .action(async (flags: Flags) => {
      done(await run(flags));
    });
}

/** What `--nat-idle` calls the idle times of the NAT. */
const IDLE = {
  udp: 'udp',
  question: 'udpQuestion',
  tcp: 'tcp',
  opening: 'tcpTransitory',
  icmp: 'icmp',
} as const;
const MOST_FLOWS = 1_000_000;

/** @throws ERR_USAGE */
function natLimitsOf({ nat, natFlows, natClientFlows, natIdle }: Flags) {
  if (natFlows === undefined && natClientFlows === undefined && natIdle === undefined) return undefined;
  if (!nat)
    throw usageError(
      '--nat-flows, --nat-client-flows and --nat-idle have no effect without --nat',
      'give it',
    );
  const idle = (natIdle ?? []).map((text) => {
    const [, what = '', time = ''] = /^([a-z]+)=(.+)$/.exec(text) ?? [];
    if (!(what in IDLE)) {
      const names = Object.keys(IDLE).join(', ');
      throw usageError(`--nat-idle: found "${text}", expected WHAT=TIME with one of ${names}`);
    }
    return [IDLE[what as keyof typeof IDLE], timeOf('--nat-idle', time)];
  });
  return {
    ...(natFlows !== undefined && { sessions: wholeNumber('--nat-flows', natFlows, MOST_FLOWS) }),
    ...(natClientFlows !== undefined && {
      perSource: wholeNumber('--nat-client-flows', natClientFlows, MOST_FLOWS),
    }),
    ...Object.fromEntries(idle),
  };
}

const MOST_CONNECTIONS = 16_000;
const MOST_SOCKETS = 100_000;

/** @throws ERR_USAGE */
function deliveryOf(flags: Flags) {
  const { deliver, allow, deny, map, connections, flows, clientConnections } = flags;
  if (deliver !== 'sockets') {
    if (allow ?? deny ?? map ?? connections ?? flows ?? clientConnections)
      throw usageError(
        '--allow, --deny, --map, --connections, --flows and --client-connections have no effect without --deliver sockets',
        'give it',
      );
    return {};
  }
  const { interface: name, nat, route } = flags;
  if (nat ?? route ?? name)
    throw usageError('--nat, --route and --interface have no effect with --deliver sockets');
  return {
    deliver,
    ...(allow && { allow }),
    ...(deny && { deny }),
    ...(map && { map }),
    deliverLimits: {
      ...(connections !== undefined && {
        connections: wholeNumber('--connections', connections, MOST_CONNECTIONS),
      }),
      ...(flows !== undefined && { flows: wholeNumber('--flows', flows, MOST_SOCKETS) }),
      ...(clientConnections !== undefined && {
        perSource: wholeNumber('--client-connections', clientConnections, MOST_SOCKETS),
      }),
    },
  };
}

function run(flags: Flags): Promise<number> {
  const { interface: name, address, nat, route, weight } = flags;
  const natLimits = natLimitsOf(flags);
  const delivery = deliveryOf(flags);
  const overSockets = 'deliver' in delivery;
  if (!overSockets && !nat && !route)
    throw usageError('give --nat or --route, or --deliver sockets: replies have to find their way back');
  const egress = new Egress(
    {
      ...endOptions(flags),
      ...(name !== undefined && { interface: name }),
      ...(address && { addresses: address }),
      ...(nat && { nat }),
      ...(natLimits && { natLimits }),
      ...delivery,
      ...(route && { routes: route }),
      ...(weight !== undefined && { weight: wholeNumber('--weight', weight, 1000) }),
    },
    { warmUp: true },
  );
  return runChainEnd(egress, flags, overSockets ? 'deliver' : 'tun');
}
