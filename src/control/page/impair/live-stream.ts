/** The stream of what the link does, for as long as the page is open. */
import { ControlError, type ImpairClient, type StreamMessage } from '../../client/index.ts';

/** A connection on which nothing comes for so long, ms, is none, whatever the browser thinks of it. */
const SILENCE = 5000;

export interface StreamEvents {
  message(message: StreamMessage): void;
  connection(connected: boolean): void;
}

/**
 * Connects again and again when the connection is lost.
 * @param interval between messages, ms
 * @throws ControlError when the server refuses: it wants a token
 */
export async function watchLink(
  client: ImpairClient,
  interval: number,
  events: StreamEvents,
): Promise<never> {
  for (;;) {
    const silent = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE + interval);
    };
    const onConnection = (connected: boolean) => {
      heard();
      if (!connected) clearTimeout(timer);
      events.connection(connected);
    };
    const options = { interval: `${interval}ms`, parts: 'stats,drops', signal: silent.signal, onConnection };
    for await (const message of client.stream(options)) {
      heard();
      events.message(message);
    }
    events.connection(false);
  }
}

/** Whether it is the server that says no, and not that there is none. */
export const isRefusal = (error: unknown): error is ControlError => error instanceof ControlError;
