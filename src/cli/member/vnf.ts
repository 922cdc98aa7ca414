/** `tunconnector vnf`: a replica of a function of service chains. */
import { Command, Option } from 'commander';
import {
  addCommandFlags,
  addMemberFlags,
  type MemberFlags,
  many,
  memberOptions,
  timeOf,
  wholeNumber,
} from './options.ts';
import { addOptionFlag, functionOptions } from './vnf-options.ts';

interface Flags extends MemberFlags {
  function?: string;
  option?: string[];
  weight?: string;
  quiet: string;
}

export function vnfCommand(done: (code: number) => void = (code) => void (process.exitCode = code)): Command {
  const command = new Command('tunconnector vnf')
    .description('Runs a replica of a function: a file of your own, or one of those that are there.')
    .argument('<file>', 'JavaScript or TypeScript that exports a function, or the name of a ready-made one');
  const own = (option: Option) => command.addOption(option.helpGroup('The function:'));
  own(new Option('--function <name>', "what chains call it; the function's own name otherwise"));
  addOptionFlag(command, (option) => own(option.argParser(many)));
  own(new Option('--weight <number>', 'share of the flows beside other replicas, 1 to 1000 (1)'));
  addMemberFlags(command, {
    help: 'on SIGTERM: how long it goes on with the flows it has, at most',
    usual: '30s',
  });
  command.addOption(
    new Option('--quiet <time>', 'and how long no packet must have come for it to leave earlier')
      .default('2s')
      .helpGroup('The chain:'),
  );
  return addCommandFlags(command, 'as it comes to the function and leaves it')
    .addHelpText(
      'after',
      `
Ready-made: pass, counter, firewall, nat, rate-limit, rewrite, match, mirror,
balance, impair. What they take is in docs/chain/functions.

The file is loaded anew when it changes and on SIGHUP, and no packet is lost.

Examples:
  tunconnector vnf firewall --roulette http://10.9.0.1:7590 \\
    --option rule='allow *:tcp:80'
  tunconnector vnf ./no-telnet.ts --roulette http://10.9.0.1:7590
  tunconnector vnf counter --function count --config vnf.yaml --metrics --json`,
    )
    .action(async (file: string, flags: Flags) => {
      done(await run(file, flags, command));
    });
}

async function run(file: string, flags: Flags, command: Command): Promise<number> {
  const { function: name, option = [], weight } = flags;
  const drain = timeOf('--drain', flags.drain);
  const quiet = timeOf('--quiet', flags.quiet);
  const options = functionOptions(command, option);
  const common = memberOptions(flags);
  // The engine of functions takes its time to load, which no other command needs.
  const { runFunction } = await import('./run-vnf.ts');
  const settings = {
    ...common,
    ...{ function: file, options, watch: true },
    ...(name !== undefined && { name }),
    ...(weight !== undefined && { weight: wholeNumber('--weight', weight, 1000) }),
  };
  return runFunction(settings, flags, { drain, quiet });
}
