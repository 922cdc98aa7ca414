/** Reports replicas that the packet half could not reach. One question per replica at a time. */
import type { Runtime } from '../../engine/runtime.ts';
import { SECOND } from '../../engine/units.ts';
import type { TenantView } from '../roulette/model/view.ts';
import type { RegistryConnection } from '../roulette/remote/connection.ts';
import type { Suspicion } from './control.ts';

/** ns for which a replica that was reported is not reported again. */
const AGAIN = SECOND;
/** Replicas that are remembered as reported. */
const MOST = 256;

export class Suspects {
  readonly #runtime: Pick<Runtime, 'now'>;
  readonly #connection: RegistryConnection;
  readonly #view: () => TenantView;
  readonly #reported = new Map<number, number>();
  /** Reports sent. */
  reports = 0;

  constructor(runtime: Pick<Runtime, 'now'>, connection: RegistryConnection, view: () => TenantView) {
    this.#runtime = runtime;
    this.#connection = connection;
    this.#view = view;
  }

  report(suspicions: readonly Suspicion[]): void {
    for (const { replica, evidence } of suspicions) {
      const now = this.#runtime.now();
      const rev = this.#view().rev('replica', replica);
      // Gone already; or asked about a moment ago.
      if (rev === 0 || now - (this.#reported.get(replica) ?? -Infinity) < AGAIN) continue;
      this.#reported.delete(replica);
      this.#reported.set(replica, now);
      if (this.#reported.size > MOST) this.#reported.delete(this.#reported.keys().next().value!);
      this.reports++;
      this.#connection.request('suspect.report', { replica, evidence, rev }, (error) => {
        // Whoever still cannot reach it says so again.
        if (error) this.#reported.delete(replica);
      });
    }
  }
}
