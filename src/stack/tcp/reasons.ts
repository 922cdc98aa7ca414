/** Why TCP drops segments. */
import { reason } from '../../engine/reasons.ts';

export const TcpDrop = {
  Checksum: reason('tcp-checksum'),
  /** Lengths or options that do not fit. */
  Malformed: reason('tcp-malformed'),
  /** For no connection and no listener: answered with a RST. */
  NoConnection: reason('tcp-no-connection'),
  /** A SYN while as many wait for their answers as may. */
  Backlog: reason('tcp-backlog'),
  /** Outside of the window, an old duplicate (PAWS), or an ACK of what was never sent. */
  Unacceptable: reason('tcp-unacceptable'),
} as const;
