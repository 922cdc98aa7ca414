/** Why impairments drop packets. */
import { reason } from '../engine/reasons.ts';

export const ImpairDrop = {
  /** A loss model said so. */
  Loss: reason('loss'),
  /** A stage held as many packets as it may. */
  Limit: reason('impair-limit'),
  /** A queue was full. */
  QueueFull: reason('queue-full'),
  /** A queue's management kept it short: CoDel, PIE. */
  Aqm: reason('aqm'),
  /** It came faster than it was allowed to. */
  Policed: reason('policed'),
  /** The link was off. */
  Off: reason('link-off'),
  /** A black hole took it. */
  Blackhole: reason('blackhole'),
  /** Longer than the link carries. */
  Mtu: reason('mtu'),
  /** It came to an address and port that its flow has no longer. */
  Rebound: reason('rebound'),
  /** There was no port left to give its flow. */
  NoPort: reason('no-port'),
  /** It was dropped when the log was made that is replayed. */
  Replayed: reason('replayed'),
} as const;
