/** What decides which wire packets are lost. */
export interface LossModel {
  /** @param mark the row of the packet's marks @param segment which of its wire packets. Asked once for each, in order. */
  lost(mark: number, segment: number): boolean;
}
