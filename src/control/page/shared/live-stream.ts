/** A stream of a server, for as long as the page is open. */
import { ControlError } from '../../client/error.ts';

export interface StreamEvents<Message> {
  message(message: Message): void;
  connection(connected: boolean): void;
}

export interface StreamOpening {
  signal: AbortSignal;
  onConnection: (connected: boolean) => void;
}

/**
 * Connects again and again when the connection is lost.
 * @param open a stream that connects again by itself
 * @param silence ms without a message after which a connection is none, whatever the browser thinks of it
 * @throws ControlError when the server refuses: it wants a token
 */
export async function keepWatching<Message>(
  open: (options: StreamOpening) => AsyncIterable<Message>,
  silence: number,
  events: StreamEvents<Message>,
): Promise<never> {
  for (;;) {
    const silent = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), silence);
    };
    const onConnection = (connected: boolean) => {
      heard();
      if (!connected) clearTimeout(timer);
      events.connection(connected);
    };
    for await (const message of open({ signal: silent.signal, onConnection })) {
      heard();
      events.message(message);
    }
    events.connection(false);
  }
}

/** Whether it is the server that says no, and not that there is none. */
export const isRefusal = (error: unknown): error is ControlError => error instanceof ControlError;
