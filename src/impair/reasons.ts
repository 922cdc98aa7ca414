/** Why impairments drop packets. */
import { reason } from '../engine/reasons.ts';

export const ImpairDrop = {
  /** A loss model said so. */
  Loss: reason('loss'),
  /** A stage held as many packets as it may. */
  Limit: reason('impair-limit'),
} as const;
