/** Why an end of a chain drops packets, beside what is wrong with their prefix. */
import { reason } from '../../engine/reasons.ts';

export const EndDrop = {
  /** No IP packet, or lengths that do not fit each other. */
  Malformed: reason('inner-malformed'),
  /** An IP packet that belongs to no flow: cut off before its ports. */
  NoKey: reason('no-flow-key'),
  /** From an address where no replica is registered. */
  Stranger: reason('chain-stranger'),
  /** Of a chain, a revision or a tenant that is not known here. */
  Unknown: reason('chain-unknown'),
  /** Not at the end of its path, for another end, or on the wrong way. */
  Misdirected: reason('chain-misdirected'),
  /** This member is not registered. */
  NotRegistered: reason('not-registered'),
  /** No rule is for the flow, or one that leads to no chain. */
  NoChain: reason('no-chain'),
  /** An answer to something that did not come this way. */
  NoFlow: reason('no-flow'),
  /** The first function of the path has no replica that can be reached. */
  NoReplica: reason('no-replica'),
  /** More new flows than the tenant may open. */
  FlowRate: reason('flow-rate'),
  /** A later fragment whose first did not come in time, or found no room to wait. */
  Fragment: reason('fragment-alone'),
  /** Does not fit into a datagram and must not be fragmented; its sender was told. */
  TooBig: reason('too-big-for-path'),
  TtlExpired: reason('ttl-expired'),
  NoMemory: reason('no-memory'),
  /** A probe more than are answered, or one of a stranger that is no question. */
  Probe: reason('chain-probe'),
} as const;
