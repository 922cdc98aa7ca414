/** Why a hop of a chain drops packets, beside what is wrong with their prefix. */
import { reason } from '../../engine/reasons.ts';

export const HopDrop = {
  /** No IP packet behind the prefix. */
  Malformed: reason('inner-malformed'),
  /** From an address where no replica is registered. */
  Stranger: reason('chain-stranger'),
  /** Of a chain, a revision or a tenant that is not known here. */
  Unknown: reason('chain-unknown'),
  /** For another replica. */
  Misdirected: reason('chain-misdirected'),
  /** This member is not registered. */
  NotRegistered: reason('not-registered'),
  /** The next function of the path, or its end, has no replica that can be reached. */
  NoReplica: reason('no-replica'),
  /** The function gave it no prefix. */
  NoPath: reason('no-path'),
  /** A probe, or an answer to one, with nothing left to do. */
  Probe: reason('chain-probe'),
} as const;
