/** Why the `stream` format drops packets, beside the reasons that all tunnels have. */
import { reason } from '../../engine/reasons.ts';
import { TunnelDrop } from '../reasons.ts';

export const StreamDrop = {
  /** A record of length 0, or shorter than the header of what it should hold. */
  TooShort: reason('record-too-short'),
  /** Longer than the MTU, on its way in or out. */
  TooLong: reason('record-too-long'),
  /** Neither IPv4 nor IPv6; on layer 2, no frame that a station can have sent. */
  NotAPacket: reason('record-not-a-packet'),
  /** The inner packet's own length does not fit into its record. */
  Truncated: reason('record-truncated'),
  /** In the send buffer when the connection ended. */
  ConnectionLost: reason('connection-lost'),
  Malformed: TunnelDrop.Malformed,
  NotConnected: TunnelDrop.NotConnected,
} as const;
