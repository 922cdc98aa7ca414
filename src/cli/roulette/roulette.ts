/** `tunconnector roulette`: the registry of service chains, served over HTTP. */
import { homedir } from 'node:os';
import path from 'node:path';
import { Command, Option } from 'commander';
import { DEFAULT_PORT } from '../../chain/roulette/remote/api.ts';
import { keepConfigKey } from '../config-options.ts';

export interface Options {
  listen: string;
  store?: string;
  tenant?: string[];
  tokens?: string;
  tlsCert?: string;
  tlsKey?: string;
  etcdCa?: string;
  etcdCert?: string;
  etcdKey?: string;
  json?: boolean;
  verbose?: boolean;
}

export function rouletteCommand(
  done: (code: number) => void = (code) => void (process.exitCode = code),
): Command {
  const command = new Command('tunconnector roulette').description(
    'The registry of service chains: chains, functions, replicas that are alive, rules and flows.',
  );
  const option = (group: string, flags: string, help: string) =>
    new Option(flags, help).helpGroup(`${group}:`);
  command
    .addOption(
      option('Serving', '--listen <address>', 'PORT, HOST or HOST:PORT').default(`127.0.0.1:${DEFAULT_PORT}`),
    )
    .addOption(option('Serving', '--tokens <file>', 'YAML: each token with its tenants, or "all"'))
    .addOption(option('Serving', '--tls-cert <file>', 'certificate with its chain, PEM: speaks TLS'))
    .addOption(option('Serving', '--tls-key <file>', 'its key, PEM'))
    .addOption(
      option(
        'Registry',
        '--store <place>',
        `a folder, or etcd://HOST:PORT[,HOST:PORT...], etcds over TLS (${shownFolder()})`,
      ),
    )
    .addOption(option('Registry', '--etcd-ca <file>', 'authority that signed etcd’s certificate, PEM'))
    .addOption(option('Registry', '--etcd-cert <file>', 'certificate to show etcd, PEM'))
    .addOption(option('Registry', '--etcd-key <file>', 'its key, PEM'))
    .addOption(
      option(
        'Registry',
        '--tenant <n>',
        'make this tenant when it is not there; N or N=DESCRIPTION',
      ).argParser((text: string, before: string[] = []) => [...before, text]),
    )
    .addOption(option('The command', '--json', 'one JSON object per line for what happens'))
    .addOption(option('The command', '--verbose', 'say more about what happens'))
    .addHelpText(
      'after',
      `
--config may also have "tenants": what is to be there, with functions, chains
and rules. What is missing is made at the start; what is there stays as it is.
Where others than this machine can ask, they need tokens.

Examples:
  tunconnector roulette --tenant 42
  tunconnector roulette --listen 0.0.0.0 --tokens tokens.yaml \\
    --tls-cert cert.pem --tls-key key.pem
  tunconnector roulette --store etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379
  tunconnector roulette --config shop.yaml`,
    );
  let declared: { value: unknown; place: string } | undefined;
  keepConfigKey(command, 'tenants', (value, place) => {
    declared = { value, place };
  });
  return command.action(async (options: Options) => {
    // It takes longer to load than other commands have to be kept waiting.
    const { runRoulette } = await import('./run.ts');
    done(await runRoulette(options, declared));
  });
}

/** systemd's, or the user's. */
export const defaultFolder = (): string =>
  process.env.STATE_DIRECTORY ??
  path.join(
    process.env.XDG_STATE_HOME ?? path.join(homedir(), '.local', 'state'),
    'tunconnector',
    'roulette',
  );

const shownFolder = () => defaultFolder().replace(homedir(), '~');
