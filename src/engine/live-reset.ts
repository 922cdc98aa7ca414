/** The end of a TCP socket with a RST, where Node can. */
import type { Socket } from 'node:net';

/**
 * Ends a socket at once: with a RST, or, while it is being opened or its end is under way, without. A reset in that moment
 * fails in Node (EINVAL), leaves the descriptor open, and then a worker that has it never ends, at full load.
 */
export function resetSocket(socket: Socket): void {
  const { connecting, writableEnded, writableFinished } = socket;
  if (connecting || (writableEnded && !writableFinished)) socket.destroy();
  else socket.resetAndDestroy();
}
