/** What one TCP did so far, for people. */
export interface TcpReport {
  connections: number;
  timeWaits: number;
  listeners: number;
  /** Bytes of all buffers. */
  memory: number;
  segmentsReceived: number;
  opened: number;
  accepted: number;
  cookiesSent: number;
  cookiesTaken: number;
  resetsSent: number;
}

/** The part of it that only grows. */
export class Counts {
  segmentsReceived = 0;
  opened = 0;
  accepted = 0;
  cookiesSent = 0;
  cookiesTaken = 0;
  resetsSent = 0;
}
