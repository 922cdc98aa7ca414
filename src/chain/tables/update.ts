/** What a member's control half tells its packet half of the registry: plain data, and only what has changed. */

/** A chain as packets need it. */
export interface ChainUpdate {
  /** Service path, 1 to 0x7fffff. */
  spi: number;
  /** Replies take the same replicas back. */
  symmetric: boolean;
  /** It gets no new flows; packets of its revisions still pass. */
  ended: boolean;
  /** In the order in which they were made, the last in force. None: the chain is gone. */
  revisions: { revision: number; functions: string[] }[];
}

export interface ReplicaUpdate {
  /** 1 to 65535. */
  id: number;
  function: string;
  /** IPv4 or IPv6, and the UDP port of its chain packets. */
  address: string;
  port: number;
  /** Share of the new flows. */
  weight: number;
  state: 'ready' | 'draining';
  /** Roulette does not hear it: it keeps its flows, and gets new ones only when all that are ready are stale. */
  stale?: boolean;
}

/** A flow as Roulette holds it. */
export interface FlowUpdate {
  /** 16 hexadecimal digits. */
  id: string;
  spi: number;
  revision: number;
  generation: number;
  /** A replica for each function of the revision. */
  path: number[];
  /** 0: none. */
  egress: number;
}

export interface RuleUpdate {
  name: string;
  /** As it was written; `writtenMatchSchema` has accepted it. */
  match: unknown;
  /** Service path; null: these flows pass no chain. */
  chain: number | null;
}

/** Of an ingress: somebody asks where the packets of a flow go. */
export interface TraceQuestion {
  /** Flow id: 16 hexadecimal digits. */
  id: string;
  /** Comes back with the answer. */
  asked: string;
}

export interface TableUpdate {
  /** Forget everything else: this is all there is. */
  whole?: boolean;
  /** Whether changes are heard of as they come: false while Roulette cannot be reached. Holds until it is said anew. */
  watched?: boolean;
  /** This member's replica id; 0 when it has none. */
  own?: { id: number };
  chains?: ChainUpdate[];
  replicas?: ReplicaUpdate[];
  /** Replica ids. */
  gone?: number[];
  /** Of ends: all rules, in the order in which they are tried. */
  rules?: RuleUpdate[];
  /** Of ends: flows that they know. */
  flows?: FlowUpdate[];
  /** Of ingresses. */
  traces?: TraceQuestion[];
}
