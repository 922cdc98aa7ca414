/** Names for what a connection is in: RFC 9293, 3.3.2, and what its sender is doing about losses. */

export const State = {
  Closed: 0,
  SynSent: 1,
  SynReceived: 2,
  Established: 3,
  FinWait1: 4,
  FinWait2: 5,
  CloseWait: 6,
  Closing: 7,
  LastAck: 8,
} as const;

export const STATE_NAMES = [
  'closed',
  'syn-sent',
  'syn-received',
  'established',
  'fin-wait-1',
  'fin-wait-2',
  'close-wait',
  'closing',
  'last-ack',
] as const;

export const Phase = {
  Open: 0,
  /** The window went down because of ECN. */
  Reduced: 1,
  /** Fast recovery. */
  Recovery: 2,
  /** After a retransmission timeout. */
  Loss: 3,
} as const;

/** What the retransmission timer is for. */
export const Wait = {
  Nothing: 0,
  Rto: 1,
  /** RFC 8985, 7: a probe for a lost tail. */
  Probe: 2,
  /** RFC 8985, 6.2 step 5: what may only be reordered. */
  Reordering: 3,
  /** The peer's window is shut. */
  Persist: 4,
} as const;

/** Cells of `Connection.time`: ns since the runtime's start. The first are deadlines, Infinity for none. */
export const Time = {
  retransmit: 0,
  delayedAck: 1,
  keepAlive: 2,
  linger: 3,
  retry: 4,
  /** Deadlines end here. */
  deadlines: 5,
  /** What the retransmission timeout counts from. */
  progress: 5,
  received: 6,
  sent: 7,
  challenge: 8,
  srtt: 9,
  rttvar: 10,
  rto: 11,
  minRtt: 12,
  minRttAt: 13,
  rackAt: 14,
  rackRtt: 15,
  recentAt: 16,
  started: 17,
  cells: 18,
} as const;

/** What the program is still to be told. */
export const Event = { Connected: 1, Readable: 2, Writable: 4, End: 8, Closed: 16 } as const;

/** Node's names, and what they mean here. */
export type TcpErrorCode =
  | 'ECONNREFUSED'
  | 'ECONNRESET'
  | 'ETIMEDOUT'
  | 'EHOSTUNREACH'
  | 'ENETUNREACH'
  | 'EADDRINUSE'
  | 'EADDRNOTAVAIL'
  | 'ECONNABORTED'
  | 'ENOBUFS';
