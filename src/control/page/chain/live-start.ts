/** Before there is anything to show: a token that Roulette takes, and the tenants that it is for. */
import { RouletteClient, type TenantDocument } from '../../client/roulette.ts';
import { isRefusal } from '../shared/live-stream.ts';

/** From one attempt to the next, ms. */
const WAIT = 1000;

export interface Start {
  token: string | undefined;
  tenants: readonly TenantDocument[];
}

export interface StartEvents {
  /** @param problem with the token before */
  askToken(problem: string): Promise<string>;
  /** It cannot be reached; it is tried again. */
  lost(): void;
  /** There is no tenant yet; it is looked again. */
  empty(): void;
  failed(error: Error): void;
}

/** @param token to begin with */
export async function begin(token: string | undefined, events: StartEvents): Promise<Start> {
  let shown = token;
  for (;;) {
    try {
      const client = new RouletteClient({ tenant: 0, ...(shown !== undefined && { token: shown }) });
      const { tenants } = await client.tenants();
      if (tenants.length > 0) return { token: shown, tenants };
      events.empty();
    } catch (error) {
      if (isRefusal(error) && error.status === 401) {
        const problem = shown === undefined ? '' : 'Roulette does not know this one.';
        shown = (await events.askToken(problem)) || undefined;
        continue;
      }
      if (isRefusal(error) && error.status !== 503) events.failed(error);
      else events.lost();
    }
    await new Promise((resolve) => setTimeout(resolve, WAIT));
  }
}
