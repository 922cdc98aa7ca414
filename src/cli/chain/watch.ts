/** `chain watch`: what changes in the registry, line by line. */
import { KINDS, parseKey } from '../../chain/roulette/model/model.ts';
import type { FeedMessage } from '../../control/client/roulette.ts';
import { Exit, usageError } from '../exit.ts';
import { untilEnd } from '../until-end.ts';
import type { ChainAction } from './chain.ts';

export const watchChain: ChainAction = async (connected, words, { json = false }) => {
  const unknown = words.find((each) => !(KINDS as readonly string[]).includes(each));
  if (unknown !== undefined)
    throw usageError(`chain watch: found "${unknown}", expected ${KINDS.join(', ')}`);
  const client = await connected.client();
  const end = untilEnd(['SIGINT', 'SIGTERM', 'SIGHUP']);
  const abort = new AbortController();
  void end.promise.then(
    () => abort.abort(),
    () => abort.abort(),
  );
  let lost = false;
  const onConnection = (there: boolean) => {
    if (!there) process.stderr.write('tunconnector: the connection to Roulette is lost; trying again\n');
    else if (lost) process.stderr.write('tunconnector: connected again\n');
    lost = !there;
  };
  try {
    const kinds = words.length > 0 ? { kinds: [...words] } : {};
    for await (const message of client.watch({ ...kinds, signal: abort.signal, onConnection })) {
      if (json) process.stdout.write(`${JSON.stringify(message)}\n`);
      else for (const line of linesOf(message)) process.stdout.write(`${line}\n`);
    }
    return Exit.ok;
  } finally {
    end.forget();
  }
};

/** Beats say nothing to people; a snapshot is what there is. */
function linesOf(message: FeedMessage): string[] {
  if (message.t === 'beat') return [];
  if (message.t === 'snap') return message.entries.map(({ key, rev, val }) => line(rev, '=', key, val));
  return message.ops.map(({ key, val }) => line(message.rev, val === undefined ? '-' : '+', key, val));
}

function line(rev: number, sign: string, key: string, value: string | undefined): string {
  const parsed = parseKey(key);
  const { kind = key, name = '' } = parsed ?? {};
  const what = kind === 'tenant' || kind === 'classifier' ? kind : `${kind} ${name}`;
  return `${rev} ${sign} ${what}${value === undefined ? '' : ` ${shown(kind, value)}`}`;
}

/** Secrets are nothing for a terminal. */
function shown(kind: string, value: string): string {
  if (kind !== 'tenant') return value;
  const { secret: _, ...rest } = JSON.parse(value);
  return JSON.stringify(rest);
}
