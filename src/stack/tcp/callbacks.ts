/** What a connection's program is told, and when. */
import type { Connection } from './connection.ts';
import { Event, State } from './state.ts';

export function tell(c: Connection): void {
  const { events, handlers } = c;
  c.events = 0;
  if (events & Event.Connected) handlers.onConnected?.();
  if (events & Event.Readable && c.readable > 0) c.handlers.onReadable?.();
  if (events & Event.Writable && c.state !== State.Closed) c.handlers.onWritable?.();
  if ((events | c.events) & Event.End && c.readable === 0 && c.finDone && !c.endTold) {
    c.endTold = true;
    c.events &= ~Event.End;
    c.handlers.onEnd?.();
  }
  if (events & Event.Closed) {
    if (c.readable > 0 && c.error === undefined && !c.shut) {
      // What came before the end is still to be read.
      c.events |= Event.Closed;
      return;
    }
    c.receiveRing.release();
    c.handlers.onClosed?.(c.error);
  }
}
