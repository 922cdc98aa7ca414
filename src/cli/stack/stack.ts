/** `tunconnector stack up`: a TCP/IP stack of its own on a TUN, a TAP or an Ethernet interface. */
import { readFileSync } from 'node:fs';
import { Argument, Command, Option } from 'commander';
import { usageError } from '../exit.ts';
import { many } from '../member/options.ts';
import { parseNuse } from './nuse.ts';
import type { StackPlan } from './plan.ts';
import { SERVICES, type Service } from './services.ts';
import { type StackFlags, upStack } from './up.ts';

interface Flags extends StackFlags {
  tun?: string;
  tap?: string;
  interface?: string;
  address?: string[];
  hostAddress?: string[];
  mac?: string;
  mtu?: string;
  dhcp?: boolean;
  route?: string[];
  nameserver?: string[];
  forward?: boolean;
  serve?: string;
  nuse?: string;
}

export function stackCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new Command('tunconnector stack')
    .description(
      'Runs an IP stack of its own, beside that of the kernel, on a TUN, a TAP or an Ethernet interface.',
    )
    .usage('up --tun|--tap|--interface NAME [options]')
    .addArgument(new Argument('<action>', 'up'));
  const option =
    (group: string) =>
    (flags: string, help: string, collect = false) => {
      const each = new Option(flags, help).helpGroup(`${group}:`);
      command.addOption(collect ? each.argParser(many) : each);
    };
  const where = option('Where it is');
  where('--tun <name>', 'a TUN to make; the kernel is at its other end');
  where('--tap <name>', 'a TAP to make; frames, with ARP and Neighbor Discovery');
  where('--interface <name>', 'an Ethernet interface that is there and up');
  where('--host-address <prefix>', 'ADDRESS/LENGTH of this machine on the TUN or TAP', true);
  where('--mtu <bytes>', 'longest IP packet (1500)');
  where('--mac <address>', 'link-layer address of the stack (one that is made up)');
  where('--nuse <file>', 'interfaces and routes from a file in the form of nuse.conf');
  const who = option('Who it is');
  who('--address <prefix>', 'ADDRESS/LENGTH of the stack', true);
  who('--dhcp', 'lease its IPv4 address, gateway and nameservers');
  who('--route <route>', '"PREFIX" or "PREFIX via GATEWAY"', true);
  who('--nameserver <address>', 'whom it asks for names', true);
  who('--forward', 'send on packets for others, as a router');
  option('What it does')('--serve <services>', `what it answers, with commas: ${SERVICES.join(', ')} (ping)`);
  const own = option('The command');
  own('--json', 'one JSON object per line for what happens, and the report');
  own('--pcap <file>', 'write what passes its interfaces into a pcapng file, drops with their reasons');
  own('--verbose', 'say more about what happens, on standard error');
  return command
    .addHelpText(
      'after',
      `
echo is port 7 of UDP and TCP, http is port 80.
What this command makes is gone when it ends.

Examples:
  tunconnector stack up --tun st0 --address 10.9.0.2/24 \\
    --host-address 10.9.0.1/24
  tunconnector stack up --tap st0 --address fd00::2/64 --serve ping,echo,http
  tunconnector stack up --interface eth1 --dhcp --verbose
  tunconnector stack up --nuse nuse.conf --forward --pcap stack.pcapng`,
    )
    .action(async (action: string, flags: Flags) => {
      if (action !== 'up') throw usageError(`found "stack ${action}", expected "stack up"`);
      done(await upStack(planOf(flags), { ...flags, services: servicesOf(flags.serve) }));
    });
}

/** What the options, or the file, set up. @throws ERR_USAGE, ERR_CONFIG */
export function planOf(flags: Flags): StackPlan {
  const routes = (flags.route ?? []).map(routeOf);
  if (flags.nuse !== undefined) {
    const beside = (
      ['tun', 'tap', 'interface', 'address', 'hostAddress', 'mac', 'mtu', 'dhcp'] as const
    ).find((name) => flags[name] !== undefined);
    if (beside)
      throw usageError(`--nuse says what the interfaces are; ${flagOf(beside)} does not go with it`);
    const plan = parseNuse(read(flags.nuse), flags.nuse);
    return { ...plan, routes: [...plan.routes, ...routes] };
  }
  const kinds = (['tun', 'tap', 'interface'] as const).filter((kind) => flags[kind] !== undefined);
  const [kind] = kinds;
  if (kinds.length !== 1 || !kind) throw usageError('give one of --tun, --tap, --interface and --nuse');
  const { address = [], hostAddress = [], mac, dhcp = false } = flags;
  if (address.length === 0 && !dhcp) throw usageError('give --address: a stack without one hears nothing');
  if (kind === 'tun' && (mac !== undefined || dhcp))
    throw usageError(`a TUN carries no frames; ${dhcp ? '--dhcp' : '--mac'} goes with --tap and --interface`);
  if (kind === 'interface' && hostAddress.length > 0)
    throw usageError('--host-address goes with --tun and --tap: what is there keeps its addresses');
  const mtu = flags.mtu === undefined ? undefined : bytesOf(flags.mtu);
  const planned = {
    kind,
    name: flags[kind]!,
    addresses: address,
    hostAddresses: hostAddress,
    dhcp,
    ...(mac !== undefined && { mac }),
    ...(mtu !== undefined && { mtu }),
  };
  return { interfaces: [planned], routes };
}

function servicesOf(text = 'ping'): Set<Service> {
  const services = new Set<Service>();
  for (const word of text.split(',').map((each) => each.trim())) {
    const known = SERVICES.find((each) => each === word);
    if (!known) throw usageError(`--serve: found "${word}", expected some of ${SERVICES.join(', ')}`);
    services.add(known);
  }
  return services;
}

function routeOf(text: string): StackPlan['routes'][number] {
  const found = /^(\S+)(?:\s+via\s+(\S+))?$/.exec(text.trim());
  if (!found) throw usageError(`--route: found "${text}", expected "PREFIX" or "PREFIX via GATEWAY"`);
  const [, to, via] = found;
  return { to: to!, ...(via !== undefined && { via }) };
}

function bytesOf(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 68 && value <= 65_535) return value;
  throw usageError(`--mtu: found "${text}", expected 68 to 65535 bytes`);
}

const flagOf = (name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`--nuse: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
}
