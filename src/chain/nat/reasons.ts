/** Why a NAT drops packets. */
import { reason } from '../../engine/reasons.ts';

export const NatDrop = {
  /** Neither TCP nor UDP nor an ICMP query, nor an ICMP error about one of these. */
  Protocol: reason('nat-protocol'),
  /** Nobody inside has asked for it. */
  Unsolicited: reason('nat-unsolicited'),
  /** There is no outer address of its IP version. */
  NoAddress: reason('nat-no-address'),
  /** All ports of all addresses are in use. */
  NoPort: reason('nat-no-port'),
  /** As many flows as there can be. */
  Full: reason('nat-full'),
  /** As many flows as one inner address may have. */
  SourceLimit: reason('nat-source-limit'),
  /** A later fragment whose first did not come. */
  Fragment: reason('nat-fragment'),
} as const;
