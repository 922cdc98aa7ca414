/**
 * What the two halves of a member of a chain say to each other. The control half watches Roulette and registers; the packet
 * half is an app, perhaps in another thread. All of it is plain data that survives a structured clone.
 */

/** A chain as packets need it. */
export interface ChainUpdate {
  /** Service path, 1 to 0x7fffff. */
  spi: number;
  /** Replies take the same replicas back. */
  symmetric: boolean;
  /** It gets no new flows; packets of its revisions still pass. */
  ended: boolean;
  /** All that packets may carry, oldest first: the last is in force. None: the chain is gone. */
  revisions: { revision: number; functions: string[] }[];
}

export interface ReplicaUpdate {
  /** 1 to 65535. */
  id: number;
  function: string;
  /** IPv4 or IPv6, and the UDP port of its chain packets. */
  address: string;
  port: number;
  /** Share of the new flows: 1 to 65535. */
  weight: number;
  state: 'ready' | 'draining';
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
  /** Replica of `egress`; 0 for none. */
  egress: number;
}

export interface RuleUpdate {
  name: string;
  /** As people wrote it: what `flowMatchSchema` reads. */
  match: unknown;
  /** Service path, or null: these flows pass no chain. */
  chain: number | null;
}

/** What has changed in the registry. What is left out is as it was. */
export interface TableUpdate {
  /** Everything that is not in here is gone. */
  whole?: boolean;
  /** This member's replica, once it is registered; 0 when it is not any more. */
  own?: { id: number };
  chains?: ChainUpdate[];
  replicas?: ReplicaUpdate[];
  /** Ids of replicas that are no more. */
  gone?: number[];
  /** Of ends: all rules, in the order in which they are tried. */
  rules?: RuleUpdate[];
  /** Of ends: flows that they know. */
  flows?: FlowUpdate[];
}

/** A flow that an end has placed, moved or mended, to be registered. */
export interface FlowNews {
  id: string;
  /** What the id was made of, for people and to tell apart two flows of one id. */
  key: string;
  spi: number;
  revision: number;
  path: number[];
  egress: number;
}

/** What a packet half has to tell. */
export interface MemberNews {
  flows?: FlowNews[];
  /** Ids of flows that are alive, each at most every quarter of the time after which Roulette forgets them. */
  touched?: string[];
  /** Replicas that cannot be reached from here. */
  suspects?: { replica: number; evidence: 'refused' | 'silent' }[];
}

/** The packet half as its control half sees it: the apps `hop` and `end` implement it. */
export interface ChainControlled {
  /** Takes effect between two breaths. */
  update(update: TableUpdate): void;
  /** What there is to tell since it was asked last; undefined: nothing. Ask again until then. */
  takeNews(): MemberNews | undefined;
  /** Called when there is news, once until it is taken. Whoever listens calls back later, not from within. */
  onNews: (() => void) | undefined;
}
