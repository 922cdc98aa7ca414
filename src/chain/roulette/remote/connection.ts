/**
 * Roulette as its members see it, whatever is in between: HTTP and a WebSocket live, the runtime's channels in virtual time.
 * Nothing is called back from within a call.
 */
import type { TunconnectorError } from '../../../errors.ts';
import type { WatchRequest } from '../watch/messages.ts';

export interface RegistryConnection {
  /**
   * One request of `docs/chain/roulette.md`, by name. Its answer, or the error that Roulette answers with. ERR_UNREACHABLE: no
   * Roulette answered, and whether it was done is not known. ERR_BUSY: too many wait for answers already.
   */
  request(
    name: string,
    body: unknown,
    done: (error: TunconnectorError | undefined, answer?: unknown) => void,
  ): void;
  /** Opens the watch with the mirror's hello; messages as they come. Returns how to end it. */
  watch(hello: WatchRequest, handlers: WatchHandlers): () => void;
}

export interface WatchHandlers {
  /** As it came, read as JSON: `Mirror.receive` checks it. */
  onMessage(message: unknown): void;
  /** As the last call, once; not when it was ended from here. Without an error Roulette ended it: come again. */
  onClose(error?: TunconnectorError): void;
}
