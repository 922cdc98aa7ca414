import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { READY_MADE } from '../../src/chain/functions/index.ts';
import { KINDS } from '../../src/chain/roulette/model/model.ts';
import { benchCommand } from '../../src/cli/bench.ts';
import { captureCommand } from '../../src/cli/capture.ts';
import { CHAIN_ACTIONS, chainCommand } from '../../src/cli/chain/chain.ts';
import { addTunnelOptions } from '../../src/cli/command-line.ts';
import { CHAIN_WORDS, completionCommand, completionScript, FUNCTIONS } from '../../src/cli/completion.ts';
import { doctorCommand } from '../../src/cli/doctor.ts';
import { vnfCommand } from '../../src/cli/member/vnf.ts';
import { OPTION_NAMES, specOf } from '../../src/cli/options.ts';

const commands = new Map([['tunnel', addTunnelOptions(new Command('tunconnector'))]]);
commands.set('capture', captureCommand());
commands.set('chain', chainCommand());
commands.set(
  'doctor',
  doctorCommand(() => {}),
);
commands.set(
  'bench',
  benchCommand(() => {}),
);
commands.set(
  'vnf',
  vnfCommand(() => {}),
);
commands.set(
  'completion',
  completionCommand(async () => commands),
);
const script = (shell: 'bash' | 'zsh' | 'fish') => completionScript(shell, commands);

describe('completion scripts', () => {
  it.each(['bash', 'zsh', 'fish'] as const)('for %s know every option and its letter', (shell) => {
    const text = script(shell);
    for (const name of OPTION_NAMES) {
      const { short } = specOf(name);
      expect(text).toContain(shell === 'fish' ? `-l ${name}` : `--${name}`);
      if (short)
        expect(text).toMatch(shell === 'fish' ? new RegExp(`-s ${short} -l ${name}\\b`) : `-${short}`);
    }
  });

  it('for bash offer options, values and files', () => {
    const complete = (...words: string[]) => {
      const asked = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _tunconnector; echo "\${COMPREPLY[*]}"`;
      const { stdout, stderr } = spawnSync('bash', ['-c', `${script('bash')}\n${asked}`], {
        encoding: 'utf8',
      });
      expect(stderr).toBe('');
      return stdout.trim().split(' ');
    };
    expect(complete('tunconnector', '--serveri')).toEqual(['--serverinterface', '--serverip']);
    expect(complete('tunconnector', '-m', '')).toEqual(['client', 'server', 'both']);
    expect(complete('tunconnector', 'comp')).toEqual(['completion']);
    expect(complete('tunconnector', 'completion', 'z')).toEqual(['zsh']);
    expect(complete('tunconnector', '--config', 'package.js')).toContain('package.json');
    expect(complete('tunconnector', '-p', 'l')).toContain('lo');
    expect(complete('tunconnector', 'capture', 'l')).toContain('lo');
    expect(complete('tunconnector', 'capture', 'lo', 'package.js')).toContain('package.json');
    expect(complete('tunconnector', 'capture', '--sn')).toEqual(['--snaplen']);
    expect(complete('tunconnector', 'vnf', 'fire')).toEqual(['firewall']);
    expect(complete('tunconnector', 'vnf', 'package.js')).toEqual(['package.json']);
    expect(complete('tunconnector', 'chain', 's')).toEqual(['show', 'set']);
    expect(complete('tunconnector', 'chain', 'show', 'r')).toEqual(['replicas', 'rules']);
    expect(complete('tunconnector', 'chain', 'set', 're')).toEqual(['replica']);
    expect(complete('tunconnector', 'chain', 'watch', 'chain', 'fl')).toEqual(['flow']);
    expect(complete('tunconnector', 'chain', 'show', '--lim')).toEqual(['--limit']);
    expect(complete('tunconnector', 'doctor', '--d')).toEqual(['--dry-run']);
    expect(complete('tunconnector', 'bench', '--')).toEqual(['--json', '--verbose', '--seconds', '--help']);
  });

  it('know the ready-made functions', () => {
    expect(FUNCTIONS.split(' ')).toEqual([...READY_MADE.keys()].sort());
    for (const shell of ['bash', 'zsh', 'fish'] as const) expect(script(shell)).toContain(FUNCTIONS);
  });

  it('know what follows chain', () => {
    expect(CHAIN_WORDS.watch).toBe(KINDS.join(' '));
    expect(Object.keys(CHAIN_WORDS).filter((action) => !CHAIN_ACTIONS.includes(action))).toEqual([]);
    expect(script('zsh')).toContain(`'1:action:(${CHAIN_ACTIONS.join(' ')})'`);
    expect(script('fish')).toContain(`__fish_seen_subcommand_from show' -a '${CHAIN_WORDS.show}'`);
  });

  it('for zsh offer interfaces to the command that takes one, and to no other', () => {
    const part = (name: string) => script('zsh').split(`  ${name}) `)[1]!.split(';;')[0]!;
    expect(part('capture')).toContain('_net_interfaces');
    expect(part('doctor')).not.toContain('_net_interfaces');
    expect(part('doctor')).toContain('--clean');
    expect(part('bench')).toContain("'--seconds[");
  });

  it('quote what a shell would misread', () => {
    expect(script('fish')).toContain("-d 'the server\\'s interface, which is made'");
    expect(script('zsh')).toContain("[the server'\\''s interface, which is made]");
  });
});
