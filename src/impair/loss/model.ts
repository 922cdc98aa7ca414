/** What decides which wire packets are lost. */
export interface LossModel {
  /** @param mark the row of the packet's marks @param segment which of its wire packets. Asked once for each, in order. */
  lost(mark: number, segment: number): boolean;
}

/**
 * Models remember one number of each scope, in the first cell of its state. Each has numbers of its own; 0, and what another
 * model left there before the configuration changed, is a chain that has not begun.
 */
export const Remembered = {
  // Of `random`: Before.Not and Before.Happened.
  Good: 3,
  Bad: 4,
  /** State 1 of the four; the others follow. */
  Four: 5,
} as const;
