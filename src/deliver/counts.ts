/** What a delivery did, as its report has it. */
export class Counts {
  connections = 0;
  flows = 0;
  opened = 0;
  /** Connections that could not be opened, and those that one side broke off. */
  failed = 0;
  broken = 0;
  /** Connections, datagrams and pings to what may not be reached. */
  prohibited = 0;
  /** Those beyond what one client, or all, may have. */
  refused = 0;
  /** Bytes of connections: from clients and to them. */
  bytesUp = 0;
  bytesDown = 0;
  datagramsUp = 0;
  datagramsDown = 0;
  /** Datagrams for which there was no room on the way. */
  datagramsLost = 0;
  /** Pings now: one for each program that pings, and host. */
  pings = 0;
  /** Those for which this process may have no socket. */
  pingsNotAllowed = 0;
  echoesUp = 0;
  echoesDown = 0;
  /** Requests that the system did not send, and replies for which there was no room on the way. */
  echoesLost = 0;
}
