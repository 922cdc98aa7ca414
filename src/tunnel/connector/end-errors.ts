/** What the errors of an end mean in the user's words, and what helps. */
import { TunconnectorError } from '../../errors.ts';
import type { AnyNotice } from './peers.ts';

/** @param port which the end was told to use */
export function explain(error: unknown, port: number): unknown {
  if (!(error instanceof TunconnectorError) || error.code !== 'ERR_PORT_IN_USE') return error;
  const { errno, syscall } = error;
  const remedy = `choose another, or end that program (ss -lnptu | grep ${port} shows it)`;
  const details = { errno, syscall, cause: error, remedy };
  return new TunconnectorError('ERR_PORT_IN_USE', `port ${port} is taken by another program`, details);
}

/** A descriptor failed while it was read. */
export function portFailed(subject: unknown, errno: unknown): TunconnectorError {
  const remedy = 'did somebody delete it? Start again';
  return new TunconnectorError('ERR_INTERFACE', `${subject} failed (errno ${errno})`, { remedy });
}

/** Why the server does not want this client, as an error. */
export function refusal(notice: AnyNotice): TunconnectorError {
  const remedies: Record<string, string> = {
    taken: 'choose another address (-c)',
    invalid: 'choose another address (-c)',
    outside: "choose from the server's networks (-c, --announce), or give the server a --route for it",
    layer: 'use --tap at both ends or at neither',
    full: "raise the server's --max-clients",
    'not-allowed': "its --allow would have to cover this host's address",
  };
  const why = notice.text || notice.reason;
  return new TunconnectorError('ERR_REFUSED', `the server ${notice.outer} refused: ${why}`, {
    remedy: remedies[notice.reason ?? ''],
  });
}
