/** `--tokens FILE`: `TOKEN: all`, `TOKEN: 42` or `TOKEN: [42, 43]`. */
import { readFileSync } from 'node:fs';
import { tenantId } from '../../chain/roulette/model/schema.ts';
import { checkToken, type Grant, Tokens } from '../../control/http/token.ts';
import { configError } from '../../engine/config.ts';
import { readYaml } from '../../engine/config-text.ts';
import { usageError } from '../exit.ts';

/** Messages say where a token stands, never the token. @throws ERR_USAGE, ERR_CONFIG */
export function readTokens(file: string): Tokens {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`--tokens: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
  return readYaml(text, file, (value) => {
    if (
      typeof value !== 'object' ||
      value === null ||
      Array.isArray(value) ||
      Object.keys(value).length === 0
    )
      throw configError('expected tokens, each with "all" or its tenants, as TOKEN: 42');
    const known = Object.entries(value).map(([token, grant], i): [string, Grant] => [
      checkToken(token, `token ${i + 1}`),
      grantOf(grant, i + 1),
    ]);
    return new Tokens(known);
  });
}

function grantOf(value: unknown, place: number): Grant {
  if (value === 'all') return 'all';
  const tenants = [value].flat();
  if (tenants.length > 0 && tenants.every((each) => tenantId.safeParse(each).success))
    return new Set(tenants as number[]);
  throw configError(
    `token ${place}: found ${JSON.stringify(value)}, expected all, a tenant, or a list of tenants (0 to 16777215)`,
  );
}
