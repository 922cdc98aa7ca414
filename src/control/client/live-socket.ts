/** One WebSocket as an async iterator of its messages, in Node and in browsers. */

/** What is used of a WebSocket: a browser's, Node's, and that of `ws`. */
export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(): void;
}
export type SocketClass = new (url: string, protocols: string[]) => SocketLike;

const WAITING = 256;

/** The WebSocket of this place: Node 20 has none of its own. */
export async function socketClass(): Promise<SocketClass> {
  const own = (globalThis as { WebSocket?: SocketClass }).WebSocket;
  return own ?? ((await import('ws')).WebSocket as unknown as SocketClass);
}

/**
 * Messages until the connection ends, whoever ends it.
 * @param opened it is connected
 * @param most messages that may wait for who iterates; of more, the oldest are missed
 */
export async function* messagesOf(
  socket: SocketLike,
  opened: () => void,
  signal: AbortSignal | undefined,
  most = WAITING,
): AsyncGenerator<string> {
  const waiting: string[] = [];
  let ended = false;
  let wake = () => {};
  const end = () => {
    ended = true;
    wake();
  };
  const abort = () => {
    waiting.length = 0;
    end();
  };
  socket.onopen = opened;
  socket.onmessage = ({ data }) => {
    waiting.push(String(data));
    if (waiting.length > most) waiting.shift();
    wake();
  };
  socket.onclose = end;
  // What is behind it closes, too.
  socket.onerror = () => {};
  signal?.addEventListener('abort', abort);
  try {
    while (!signal?.aborted) {
      const message = waiting.shift();
      if (message !== undefined) {
        yield message;
      } else if (ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    socket.close();
  }
}

/** @param ms at most: an abort ends it early */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}
