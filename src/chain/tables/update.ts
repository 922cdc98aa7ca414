/** What a member's control half tells its packet half of the registry: plain data, and only what has changed. */

export interface TableUpdate {
  /** Forget everything else: this is all there is. */
  whole?: boolean;
  /** This member's replica id. */
  own?: { id: number };
  /** Revisions in the order in which they were made, the last in force. None: the chain is gone. */
  chains?: {
    spi: number;
    symmetric: boolean;
    ended: boolean;
    revisions: { revision: number; functions: string[] }[];
  }[];
  replicas?: {
    id: number;
    function: string;
    address: string;
    port: number;
    weight: number;
    state: 'ready' | 'draining';
  }[];
  /** Replica ids. */
  gone?: number[];
  /** Of ends: all rules in order. A match is as it was written; `writtenMatchSchema` has accepted it. */
  rules?: { name: string; match: unknown; chain: number | null }[];
  /** Of ends: flows that they know, as Roulette holds them. */
  flows?: {
    /** 16 hexadecimal digits. */
    id: string;
    spi: number;
    revision: number;
    generation: number;
    path: number[];
    egress: number;
  }[];
}
