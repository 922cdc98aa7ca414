/** `chain set`: changes what Roulette has, if it is still as it was read. */
import { readFileSync } from 'node:fs';
import { ControlError } from '../../control/client/error.ts';
import type { ClassifierDocument, RouletteClient } from '../../control/client/roulette.ts';
import { readYaml } from '../../engine/config-text.ts';
import { Exit, usageError } from '../exit.ts';
import { type ChainAction, type ChainOptions, MAX_REPLICA, MAX_SPI, numberOf } from './chain.ts';

type Setter = (client: RouletteClient, words: readonly string[], options: ChainOptions) => Promise<Outcome>;

interface Outcome {
  /** What Roulette answered. */
  answer: { rev: number };
  /** In words. */
  text: string;
}

const SETTERS: Record<string, Setter> = {
  async end(client, [text, ...more], options) {
    const spi = numberOf(text ?? missing('the number of a chain'), 'chain set end', 1, MAX_SPI);
    none(more);
    const ifRev = givenRev(options) ?? (await client.chain(spi)).rev;
    return { answer: await client.endChain(spi, { ifRev }), text: `chain ${spi} takes no new flows` };
  },
  async function(client, [name = missing('the name of a function'), description = '', ...more], options) {
    none(more);
    const ifRev = givenRev(options);
    const answer = await client.putFunction(name, { description, ...(ifRev !== undefined && { ifRev }) });
    return { answer, text: `function ${name}` };
  },
  async rules(client, [file = missing('a file with rules'), ...more], options) {
    none(more);
    const rules = readRules(file);
    const ifRev = givenRev(options) ?? (await client.classifier()).rev;
    return { answer: await client.putClassifier({ rules, ifRev }), text: `${rules.length} rules` };
  },
  async replica(client, [text, state, ...more], options) {
    const id = numberOf(text ?? missing('the id of a replica'), 'chain set replica', 1, MAX_REPLICA);
    none(more);
    if (state !== 'ready' && state !== 'draining')
      throw usageError(`chain set replica: found "${state ?? ''}", expected ready or draining`);
    const ifRev = givenRev(options) ?? (await client.replica(id)).rev;
    return { answer: await client.setReplicaState(id, state, { ifRev }), text: `replica ${id} is ${state}` };
  },
  async tenant(client, [description = '', ...more], options) {
    none(more);
    const ifRev = givenRev(options);
    const answer = await client.putTenant({ description, ...(ifRev !== undefined && { ifRev }) });
    return { answer, text: 'the tenant is there' };
  },
};

export const setChain: ChainAction = async (connected, words, options) => {
  const [what, ...more] = words;
  if (what === undefined)
    throw usageError('chain set: set what?', 'name a chain and its functions, or see --help');
  const setter = Object.hasOwn(SETTERS, what) ? SETTERS[what]! : undefined;
  if (setter && options.oneWay)
    throw usageError(`--one-way has no effect with chain set ${what}`, 'leave it out');
  if (!setter && !/^\d+$/.test(what)) {
    const known = Object.keys(SETTERS).join(', ');
    throw usageError(`chain set: found "${what}", expected the number of a chain, ${known}`);
  }
  const client = await connected.client();
  const { answer, text } = setter
    ? await setter(client, more, options)
    : await setFunctions(client, words, options);
  process.stdout.write(`${options.json ? JSON.stringify(answer) : `${text} (rev ${answer.rev})`}\n`);
  return Exit.ok;
};

async function setFunctions(
  client: RouletteClient,
  words: readonly string[],
  options: ChainOptions,
): Promise<Outcome> {
  const spi = numberOf(words[0]!, 'chain set', 1, MAX_SPI);
  const functions = words.slice(1).flatMap((each) => each.split(','));
  if (functions.length === 0)
    throw usageError(`chain set ${spi}: through which functions?`, 'name them in order');
  const ifRev = givenRev(options) ?? (await revOf(client, spi));
  const answer = await client.putChain(spi, { functions, symmetric: !options.oneWay, ifRev });
  return { answer, text: `chain ${spi}: ${functions.join(' > ')}, revision ${answer.revision}` };
}

/** 0: there is none yet. */
async function revOf(client: RouletteClient, spi: number): Promise<number> {
  try {
    return (await client.chain(spi)).rev;
  } catch (error) {
    if (error instanceof ControlError && error.status === 404) {
      // There is no such tenant, perhaps.
      await client.tenant();
      return 0;
    }
    throw error;
  }
}

const givenRev = ({ ifRev }: ChainOptions): number | undefined =>
  ifRev === undefined ? undefined : numberOf(ifRev, '--if-rev', 0, Number.MAX_SAFE_INTEGER);

function readRules(file: string): ClassifierDocument['rules'] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`chain set rules: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`);
  }
  return readYaml(text, file, (value) => {
    const list = (value as { rules?: unknown } | null)?.rules ?? value;
    if (!Array.isArray(list)) throw usageError('expected a list of rules');
    return list as ClassifierDocument['rules'];
  });
}

function missing(what: string): never {
  throw usageError(`chain set: ${what} is missing`);
}

function none(words: readonly string[]): void {
  if (words.length > 0) throw usageError(`chain set: found "${words[0]}" too much`, 'quote text with spaces');
}
