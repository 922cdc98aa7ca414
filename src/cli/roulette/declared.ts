/** What is to be there when Roulette starts: tenants with functions, chains and rules. What is missing is made; what is there stays. */
import { z } from 'zod';
import { writtenMatchSchema } from '../../chain/classifier/match.ts';
import {
  chainFunctions,
  description,
  functionName,
  spi,
  tenantId,
} from '../../chain/roulette/model/schema.ts';
import type { Roulette } from '../../chain/roulette/roulette.ts';
import { configError, sameJson } from '../../engine/config.ts';
import { checkOptions } from '../../engine/options.ts';
import { TunconnectorError } from '../../errors.ts';
import { usageError } from '../exit.ts';

const functions = z.union(
  [
    z.array(functionName).transform((names) => Object.fromEntries(names.map((name) => [name, '']))),
    z.record(functionName, z.union([description, z.null().transform(() => '')])),
  ],
  { error: 'expected names of functions, with a description or without' },
);

const chain = z.union(
  [
    chainFunctions.transform((functions) => ({ functions, symmetric: true })),
    z.strictObject({ functions: chainFunctions, symmetric: z.boolean().default(true) }),
  ],
  { error: 'expected 1 to 32 functions in order, or functions and symmetric' },
);

const rule = z.strictObject({ name: functionName, match: writtenMatchSchema, chain: spi.nullable() });

const tenant = z.strictObject({
  description: description.default(''),
  functions: functions.default({}),
  chains: z.record(z.string(), chain).default({}),
  rules: z.array(rule).default([]),
});

export type Declared = z.output<typeof tenant> & { tenant: number };

/** `N` or `N=DESCRIPTION`. @throws ERR_USAGE */
export function seedOf(text: string): Declared {
  const [, digits, , said = ''] = /^(\d{1,8})(=(.*))?$/s.exec(text) ?? [];
  const number = Number(digits);
  if (digits === undefined || !tenantId.safeParse(number).success)
    throw usageError(`--tenant: found "${text}", expected a number from 0 to 16777215, or N=DESCRIPTION`);
  return { ...checkOptions(tenant, { description: said }), tenant: number };
}

/** @param place of `tenants` in the file @throws ERR_CONFIG */
export function readDeclared(value: unknown, place: string): Declared[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw configError(`${place}: expected tenants by their numbers`);
  return Object.entries(value).map(([number, content]) => {
    const at = `${place}.${number}`;
    const id = numberOf(number, tenantId, at);
    const checked = inPlace(at, () => checkOptions(tenant, content ?? {}));
    for (const each of Object.keys(checked.chains)) numberOf(each, spi, `${at}.chains.${each}`);
    return { ...checked, tenant: id };
  });
}

function numberOf(text: string, schema: z.ZodType, place: string): number {
  const number = /^\d{1,8}$/.test(text) ? Number(text) : undefined;
  if (number !== undefined && schema.safeParse(number).success) return number;
  throw configError(`${place}: found ${JSON.stringify(text)}, expected a number in range`);
}

function inPlace<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TunconnectorError)) throw error;
    throw configError(`${place}.${error.message}`);
  }
}

/**
 * Each piece is written with `ifRev: 0`, so that nothing that somebody has changed is overwritten, also by several Roulettes at once.
 * @param note hears of what is there and is not as declared
 */
export async function applyDeclared(
  roulette: Roulette,
  declared: readonly Declared[],
  note: (text: string) => void,
): Promise<void> {
  for (const each of declared) {
    const { tenant, description, functions, chains, rules } = each;
    const make = async (name: string, body: object, what: string, isSame: () => boolean | undefined) => {
      try {
        await ask(roulette, tenant, name, { ...body, ifRev: 0 });
      } catch (error) {
        if (!(error instanceof TunconnectorError)) throw error;
        if (error.code !== 'ERR_REVISION')
          throw new TunconnectorError(error.code, `tenant ${tenant}: ${what}: ${error.message}`);
        if (!isSame())
          note(`tenant ${tenant}: ${what} is there already and not as declared; it stays as it is`);
      }
    };
    const view = () => roulette.view(tenant);
    await make('tenant.put', { description }, 'its description', () => {
      return description === '' || view().tenant?.description === description;
    });
    for (const [name, description] of Object.entries(functions)) {
      await make('function.put', { name, description }, `the function ${name}`, () => {
        return description === '' || view().get('function', name)?.value.description === description;
      });
    }
    for (const [number, { functions, symmetric }] of Object.entries(chains)) {
      const spi = Number(number);
      await make('chain.put', { spi, functions, symmetric }, `the chain ${spi}`, () => {
        const now = view().chainRevision(spi);
        return now && sameJson(now.functions, functions) && now.symmetric === symmetric;
      });
    }
    if (rules.length > 0) {
      await make('classifier.put', { rules }, 'its list of rules', () =>
        sameJson(view().classifier?.rules ?? [], rules),
      );
    }
  }
}

const ask = (roulette: Roulette, tenant: number, name: string, body: object) =>
  new Promise<void>((resolve, reject) =>
    roulette.request(tenant, name, body, (error) => (error ? reject(error) : resolve())),
  );
