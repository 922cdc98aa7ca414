/** `tunconnector completion bash|zsh|fish`: scripts for shells, made from the commands and their options. */
import { Command, type Option } from 'commander';
import { CHAIN_ACTIONS } from './chain/chain.ts';
import { usageError } from './exit.ts';
import { type Completion, OPTION_NAMES, type OptionName, specOf } from './options.ts';
import { SIM_ACTIONS } from './sim/actions.ts';

/** Ready-made functions: a test compares them with those that there are, which take long to load. */
export const FUNCTIONS = 'balance counter firewall impair match mirror nat pass rate-limit rewrite';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** What follows some of the actions of `chain`. */
export const CHAIN_WORDS: Readonly<Record<string, string>> = {
  show: 'chains functions replicas rules flows tenants',
  set: 'end function rules replica tenant',
  watch: 'tenant function chain replica lease classifier flow suspect trace',
};

interface Word {
  long: string;
  short: string | undefined;
  help: string;
  takesValue: boolean;
  complete: Completion | undefined;
}

/** @param commands all of them, by name */
export function completionCommand(commands: () => Promise<ReadonlyMap<string, Command>>): Command {
  return new Command('tunconnector completion')
    .description('Writes a completion script to standard output.')
    .argument('<shell>', SHELLS.join(', '))
    .addHelpText(
      'after',
      `
Where the shells look for it (zsh with ~/.zfunc in $fpath):
  bash  ~/.local/share/bash-completion/completions/tunconnector
  zsh   ~/.zfunc/_tunconnector
  fish  ~/.config/fish/completions/tunconnector.fish`,
    )
    .action(async (shell: string) => {
      const known = SHELLS.find((each) => each === shell);
      if (!known) throw usageError(`completion: found "${shell}", expected bash, zsh or fish`);
      process.stdout.write(completionScript(known, await commands()));
    });
}

export function completionScript(shell: Shell, commands: ReadonlyMap<string, Command>): string {
  const names = [...commands.keys()];
  const words = new Map([...commands].map(([name, command]) => [name, wordsOf(command)]));
  return { bash, zsh, fish }[shell](names, words);
}

function wordsOf(command: Command): Word[] {
  const help = command.createHelp().visibleOptions(command);
  return help.map((option: Option) => {
    const long = option.long ?? '';
    const name = OPTION_NAMES.find((each) => `--${each}` === long) as OptionName | undefined;
    return {
      long,
      short: option.short,
      help: option.description.split(/[;:(]/)[0]!.trim(),
      takesValue: option.required || option.optional,
      complete: name && specOf(name).complete,
    };
  });
}

function bash(names: string[], words: Map<string, Word[]>): string {
  const tunnel = words.get('tunnel') ?? [];
  const flags = ({ short, long }: Word) => [short, long].filter(Boolean).join('|');
  const generator = (complete: Completion | undefined) => {
    if (complete === 'file') return 'COMPREPLY=($(compgen -f -- "$current"))';
    if (complete === 'user') return 'COMPREPLY=($(compgen -u -- "$current"))';
    if (complete === 'interface') return 'COMPREPLY=($(compgen -W "$(ls /sys/class/net)" -- "$current"))';
    return complete ? `COMPREPLY=($(compgen -W "${complete.join(' ')}" -- "$current"))` : 'COMPREPLY=()';
  };
  const values = tunnel
    .filter((word) => word.takesValue)
    .map((word) => `    ${flags(word)}) ${generator(word.complete)}; return ;;`);
  const perCommand = [...words]
    .filter(([name]) => name !== 'tunnel')
    .map(([name, list]) => `    ${name}) words="${list.map((word) => word.long).join(' ')}" ;;`);
  // `watch` takes several.
  const chainWords = Object.entries(CHAIN_WORDS).map(
    ([action, list]) =>
      `      ${action === 'watch' ? '*' : '3'}:${action}) COMPREPLY=($(compgen -W "${list}" -- "$current")); return ;;`,
  );
  return `# bash completion for tunconnector
_tunconnector() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} words
  COMPREPLY=()
  if [[ \${COMP_WORDS[1]} == completion && $COMP_CWORD -eq 2 ]]; then
    COMPREPLY=($(compgen -W "${SHELLS.join(' ')}" -- "$current"))
    return
  fi
  if [[ \${COMP_WORDS[1]} == capture && $COMP_CWORD -ge 2 && $current != -* ]]; then
    [[ $COMP_CWORD -eq 2 ]] && ${generator('interface')} || ${generator('file')}
    return
  fi
  if [[ \${COMP_WORDS[1]} == vnf && $COMP_CWORD -eq 2 && $current != -* ]]; then
    COMPREPLY=($(compgen -f -- "$current") $(compgen -W "${FUNCTIONS}" -- "$current"))
    return
  fi
  if [[ \${COMP_WORDS[1]} == sim && $COMP_CWORD -ge 2 && $current != -* ]]; then
    [[ $COMP_CWORD -eq 2 ]] && COMPREPLY=($(compgen -W "${SIM_ACTIONS.join(' ')}" -- "$current")) || ${generator('file')}
    return
  fi
  if [[ \${COMP_WORDS[1]} == top && $COMP_CWORD -eq 2 && $current != -* ]]; then
    ${generator('interface')}
    return
  fi
  if [[ \${COMP_WORDS[1]} == chain && $current != -* ]]; then
    case $COMP_CWORD:\${COMP_WORDS[2]} in
      2:*) COMPREPLY=($(compgen -W "${CHAIN_ACTIONS.join(' ')}" -- "$current")); return ;;
${chainWords.join('\n')}
    esac
  fi
  case $previous in
${values.join('\n')}
  esac
  case \${COMP_WORDS[1]} in
${perCommand.join('\n')}
    *) words="${tunnel.map((word) => word.long).join(' ')}" ;;
  esac
  if [[ $COMP_CWORD -eq 1 && $current != -* ]]; then words="${names.join(' ')}"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o filenames -F _tunconnector tunconnector
`;
}

/** What commands take beside options. */
const ZSH_OPERANDS: Record<string, string[]> = {
  capture: ["'1:name:_net_interfaces'", "'2:file:_files'"],
  sim: [`'1:action:(${SIM_ACTIONS.join(' ')})'`, "'2:file:_files'"],
  top: ["'1::name:_net_interfaces'"],
  vnf: [`'1:function:{_alternative "files:file:_files" "functions:function:(${FUNCTIONS})"}'`],
  completion: [`'1:shell:(${SHELLS.join(' ')})'`],
  chain: [
    `'1:action:(${CHAIN_ACTIONS.join(' ')})'`,
    `'*:word:(${[...new Set(Object.values(CHAIN_WORDS).flatMap((list) => list.split(' ')))].join(' ')})'`,
  ],
};

function zsh(names: string[], words: Map<string, Word[]>): string {
  const escaped = (text: string) => text.replace(/'/g, "'\\''").replace(/[[\]:]/g, '\\$&');
  const action = (complete: Completion | undefined) => {
    if (complete === 'file') return '_files';
    if (complete === 'user') return '_users';
    if (complete === 'interface') return '_net_interfaces';
    return complete ? `(${complete.join(' ')})` : ' ';
  };
  const argumentsOf = (list: readonly Word[]) =>
    list
      .map(({ short, long, help, takesValue, complete }) => {
        const value = takesValue ? `:value:${action(complete)}` : '';
        const name = short ? `'(${short} ${long})'{${short},${long}}'` : `'${long}`;
        return `    ${name}[${escaped(help)}]${value}'`;
      })
      .join(' \\\n');
  const perCommand = [...words]
    .filter(([name]) => name !== 'tunnel')
    .map(([name, list]) => {
      const operands = ZSH_OPERANDS[name] ?? [];
      const all = [argumentsOf(list), ...operands.map((each) => `    ${each}`)].join(' \\\n');
      return `  ${name}) shift words; ((CURRENT--)); _arguments \\\n${all} ;;`;
    });
  return `#compdef tunconnector
case $words[2] in
${perCommand.join('\n')}
  *) _arguments \\
${argumentsOf(words.get('tunnel') ?? [])} \\
    '1:command:(${names.join(' ')})' ;;
esac
`;
}

function fish(names: string[], words: Map<string, Word[]>): string {
  const quoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;
  const action = (complete: Completion | undefined) => {
    if (complete === 'file') return '-r -F';
    if (complete === 'user') return "-x -a '(__fish_complete_users)'";
    if (complete === 'interface') return "-x -a '(ls /sys/class/net)'";
    return complete ? `-x -a ${quoted(complete.join(' '))}` : '-x';
  };
  const others = names.filter((name) => name !== 'tunnel').join(' ');
  const lines = [...words].flatMap(([name, list]) => {
    const seen =
      name === 'tunnel' ? `not __fish_seen_subcommand_from ${others}` : `__fish_seen_subcommand_from ${name}`;
    return list.map(({ short, long, help, takesValue, complete }) => {
      const flags = `${short ? `-s ${short.slice(1)} ` : ''}-l ${long.slice(2)}`;
      const value = takesValue ? ` ${action(complete)}` : '';
      return `complete -c tunconnector -n ${quoted(seen)} ${flags}${value} -d ${quoted(help)}`;
    });
  });
  return `# fish completion for tunconnector
complete -c tunconnector -f
complete -c tunconnector -n __fish_use_subcommand -a ${quoted(names.join(' '))}
complete -c tunconnector -n '__fish_seen_subcommand_from completion' -a ${quoted(SHELLS.join(' '))}
complete -c tunconnector -n '__fish_seen_subcommand_from capture' -F -a '(ls /sys/class/net)'
complete -c tunconnector -n '__fish_seen_subcommand_from sim' -F -a '${SIM_ACTIONS.join(' ')}'
complete -c tunconnector -n '__fish_seen_subcommand_from vnf' -F -a '${FUNCTIONS}'
complete -c tunconnector -n '__fish_seen_subcommand_from chain; and not __fish_seen_subcommand_from ${CHAIN_ACTIONS.join(' ')}' -a '${CHAIN_ACTIONS.join(' ')}'
${Object.entries(CHAIN_WORDS)
  .map(
    ([action, list]) =>
      `complete -c tunconnector -n '__fish_seen_subcommand_from chain; and __fish_seen_subcommand_from ${action}' -a '${list}'`,
  )
  .join('\n')}
complete -c tunconnector -n '__fish_seen_subcommand_from top' -a '(ls /sys/class/net)'
${lines.join('\n')}
`;
}
