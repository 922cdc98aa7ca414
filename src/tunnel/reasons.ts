/** Why a tunnel drops packets. Control messages have reasons of their own in control/session.ts. */
import { reason } from '../engine/reasons.ts';

export const TunnelDrop = {
  /** Not an IP packet, or lengths that do not fit each other. */
  Malformed: reason('inner-malformed'),
  /** From the outside, from an address without a session. */
  NoSession: reason('no-session'),
  /** From a client, with an inner source that is not among its addresses. */
  SpoofedSource: reason('inner-source-not-owned'),
  /** No client owns the destination. */
  NoRoute: reason('no-route'),
  /** To the client it came from. */
  Returning: reason('returns-to-sender'),
  TtlExpired: reason('ttl-expired'),
  /** Does not fit the path and must not be fragmented; its sender was told. */
  TooBig: reason('too-big-for-path'),
  /** The outer header met congestion and the inner one cannot say so (RFC 6040). */
  Congestion: reason('outer-congestion-not-ect'),
  /** The kind of packet that this tunnel does not carry: Ethernet in an IP tunnel, or the other way round. */
  WrongLayer: reason('wrong-layer'),
  /** The client has no session yet. */
  NotConnected: reason('not-connected'),
  NoMemory: reason('no-memory'),
} as const;
