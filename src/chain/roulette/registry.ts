/** All of the store, read: a view for each tenant, kept up to date by changes. */
import { type Kind, parseKey, type TenantId } from './model/model.ts';
import { TenantView } from './model/view.ts';
import type { Change, StoreState } from './store.ts';

/** One key that was written or removed. */
export interface News {
  tenant: TenantId;
  kind: Kind;
  name: string;
  /** The value as the store has it; undefined when it was removed. */
  text: string | undefined;
  /** False when only its revision is new. */
  changed: boolean;
}

const NOBODY = new TenantView();

export class Registry {
  rev = 0;
  readonly #tenants = new Map<TenantId, TenantView>();

  /** Tenants that have been made. */
  get tenants(): number {
    let count = 0;
    for (const view of this.#tenants.values()) if (view.tenant) count++;
    return count;
  }

  ids(): Iterable<TenantId> {
    return this.#tenants.keys();
  }

  /** An empty one when there is no such tenant. */
  view(tenant: TenantId): TenantView {
    return this.#tenants.get(tenant) ?? NOBODY;
  }

  /** Everything anew. */
  replace({ rev, entries }: StoreState): void {
    this.#tenants.clear();
    this.rev = rev;
    for (const { key, value, rev } of entries) this.#write(key, value, rev);
  }

  apply({ rev, ops }: Change): News[] {
    this.rev = rev;
    const news = ops.map(({ key, value }) => this.#write(key, value, rev));
    return news.filter((each) => each !== undefined);
  }

  #write(key: string, text: string | undefined, rev: number): News | undefined {
    const parsed = parseKey(key);
    if (!parsed) return undefined;
    const { tenant, kind, name } = parsed;
    let view = this.#tenants.get(tenant);
    if (!view) this.#tenants.set(tenant, (view = new TenantView()));
    const changed = text === undefined ? view.remove(kind, name) : view.put(kind, name, rev, text);
    if (kind === 'tenant' && text === undefined) this.#tenants.delete(tenant);
    return { tenant, kind, name, text, changed };
  }
}
