/**
 * Plans become transactions: planned on what is known, written if that still holds, planned anew if not. An answer is given when
 * the registry has caught up with what was written, so that who asks next sees it.
 */
import type { Runtime } from '../../engine/runtime.ts';
import { TunconnectorError } from '../../errors.ts';
import type { TenantId } from './model/model.ts';
import type { Registry } from './registry.ts';
import type { Context, Plan } from './requests/request.ts';
import type { RegistryStore } from './store.ts';

/** Times that a plan may be overtaken. */
const ATTEMPTS = 64;
/** Edits of one tenant that may wait for each other. */
const LINE = 1024;

/** Undefined: there is nothing to be done. */
export type Planner = (context: Context) => Plan | undefined;
export type Done = (error: TunconnectorError | undefined, answer?: unknown) => void;

export class Commits {
  readonly #clock: Pick<Runtime, 'now' | 'timer'>;
  readonly #store: RegistryStore;
  readonly #registry: Registry;
  readonly #contextOf: (tenant: TenantId) => Context;
  /** What waits for the registry to come to a revision. */
  #waiting: { rev: number; run: () => void }[] = [];
  /** Edits by tenant, the first of which is under way. */
  readonly #lines = new Map<TenantId, (() => void)[]>();
  /** Plans that were overtaken. */
  overtaken = 0;

  constructor(
    clock: Pick<Runtime, 'now' | 'timer'>,
    store: RegistryStore,
    registry: Registry,
    contextOf: (tenant: TenantId) => Context,
  ) {
    this.#clock = clock;
    this.#store = store;
    this.#registry = registry;
    this.#contextOf = contextOf;
  }

  /** Never calls back from within. */
  commit(tenant: TenantId, plan: Planner, done: Done, attempt = 1): void {
    let planned: Plan | undefined;
    try {
      planned = plan(this.#contextOf(tenant));
    } catch (error) {
      if (!(error instanceof TunconnectorError)) throw error;
      this.soon(() => done(error));
      return;
    }
    const { rev } = this.#registry;
    if (!planned || planned.ops.length === 0) {
      this.soon(() => done(undefined, planned?.answer(rev)));
      return;
    }
    const { compare, ops, answer } = planned;
    this.#store.txn(compare, ops, (error, result) => {
      if (error) return done(error);
      const { ok, rev } = result!;
      this.#whenAt(rev, () => {
        if (ok) return done(undefined, answer(rev));
        this.overtaken++;
        if (attempt < ATTEMPTS) return this.commit(tenant, plan, done, attempt + 1);
        const message = `others changed the same ${ATTEMPTS} times meanwhile`;
        done(new TunconnectorError('ERR_BUSY', message, { remedy: 'ask again later' }));
      });
    });
  }

  /** One after the other for each tenant: they write what the next one compares. */
  commitInLine(tenant: TenantId, plan: Planner, done: Done): void {
    let line = this.#lines.get(tenant);
    if (!line) this.#lines.set(tenant, (line = []));
    if (line.length >= LINE) {
      const message = `${LINE} edits of tenant ${tenant} wait already`;
      const error = new TunconnectorError('ERR_BUSY', message, { remedy: 'ask again later' });
      this.soon(() => done(error));
      return;
    }
    const run = () =>
      this.commit(tenant, plan, (error, answer) => {
        line.shift();
        if (line.length === 0) this.#lines.delete(tenant);
        else line[0]();
        done(error, answer);
      });
    line.push(run);
    if (line.length === 1) run();
  }

  soon(callback: () => void): void {
    this.#clock.timer(this.#clock.now(), callback);
  }

  /** The registry has moved on. */
  caughtUp(): void {
    const { rev } = this.#registry;
    const due = this.#waiting.filter((each) => each.rev <= rev);
    if (due.length === 0) return;
    this.#waiting = this.#waiting.filter((each) => each.rev > rev);
    for (const { run } of due) run();
  }

  #whenAt(rev: number, run: () => void): void {
    if (this.#registry.rev >= rev) run();
    else this.#waiting.push({ rev, run });
  }
}
