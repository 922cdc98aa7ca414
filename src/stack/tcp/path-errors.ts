/** ICMP errors about segments of a connection (RFC 1122, 4.2.3.9; RFC 5927). */
import { PathError } from './below.ts';
import type { Connection } from './connection.ts';
import { before } from './sequence.ts';
import { State } from './state.ts';

/** What the owner does for it. */
export interface PathVerdicts {
  drop(c: Connection, error: 'ECONNREFUSED' | 'EHOSTUNREACH'): void;
}

/**
 * @param seq of the segment that is quoted
 * @param mtu with TooBig: what the error says
 * @returns whether it is believed
 */
export function pathError(
  to: PathVerdicts,
  c: Connection,
  kind: PathError,
  seq: number,
  mtu: number,
): boolean {
  // RFC 5927, 4.1: it must quote what is under way.
  if (before(seq, c.una) || !before(seq, c.nxt)) return false;
  const opening = c.state === State.SynSent;
  switch (kind) {
    case PathError.TooBig:
      // RFC 1191, 6: a path that takes what it is sent has no reason to complain.
      if (mtu >= c.route.mtu) return false;
      c.owner.touch(c);
      return true;
    case PathError.Refused:
      if (opening) to.drop(c, 'ECONNREFUSED');
      else c.softError = 'ECONNREFUSED';
      return true;
    case PathError.Prohibited:
      if (opening) to.drop(c, 'EHOSTUNREACH');
      else c.softError = 'EHOSTUNREACH';
      return true;
    case PathError.Unreachable:
      // RFC 1122, 4.2.3.9: may pass.
      c.softError = 'EHOSTUNREACH';
      return true;
    default:
      return true;
  }
}
