import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CommanderError } from 'commander';
import { afterAll, describe, expect, it } from 'vitest';
import { explainMistake } from '../../src/cli/command-line.ts';
import { withConfigFile } from '../../src/cli/config-options.ts';
import { COMMAND_NAMES, type CommandName, commandOf } from '../../src/cli/main.ts';
import { packageVersion } from '../../src/cli/version.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'command-line-'));
afterAll(() => rmSync(folder, { recursive: true }));

const names = [...COMMAND_NAMES];

/** What a command says and throws. */
async function run(name: CommandName, ...words: string[]) {
  let said = '';
  const command = await commandOf(name);
  command.configureOutput({ writeOut: (text) => (said += text), writeErr: () => {} });
  const thrown = await command.parseAsync(words, { from: 'user' }).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { said, thrown, command };
}

describe('every command', () => {
  it.each(names)('%s tells the version', async (name) => {
    const { said, thrown } = await run(name, '--version');
    expect(said).toBe(`${packageVersion()}\n`);
    expect((thrown as CommanderError).exitCode).toBe(0);
  });

  it.each(names)('%s leads to its own help where it does not know an option', async (name) => {
    const { thrown, command } = await run(name, '--no-such-option-anywhere');
    expect(thrown).toBeInstanceOf(CommanderError);
    const called = name === 'tunnel' ? 'tunconnector' : `tunconnector ${name}`;
    expect(explainMistake(thrown as CommanderError, command).message).toBe(
      `unknown option --no-such-option-anywhere; ${called} --help lists the options`,
    );
  });

  it('takes no version from a file', async () => {
    const file = path.join(folder, 'version.yaml');
    writeFileSync(file, 'version: true\n');
    const command = await commandOf('egress');
    expect(() => withConfigFile(command, ['--config', file])).toThrow(/found the unknown key "version"/);
  });
});
