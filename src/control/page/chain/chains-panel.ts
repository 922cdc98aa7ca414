/** The chains of a tenant, drawn; one of them, or all. */
import { byId, h, setText } from '../shared/dom.ts';
import { Keyed } from '../shared/keyed.ts';
import type { Topic } from '../shared/topic.ts';
import { type Around, ChainView, type Doing } from './chain-view.ts';
import type { Drafts } from './drafts.ts';
import { type DrawnChain, drawn } from './picture.ts';
import { unknownText } from './rate-text.ts';
import type { Tenant } from './tenant.ts';

/** What somebody looks at. */
export interface Looked {
  /** 0: all chains. */
  spi: number;
  replica: number | undefined;
  /** The flow that was chosen: its chain, 0 for none, and the replicas on its path. */
  pathOf: number;
  path: readonly number[];
}

/** Chains that are drawn at a time. */
const DRAWN = 30;

/** @returns draws everything anew, for what is no news of the tenant */
export function chainsPanel(tenant: Tenant, looked: Topic<Looked>, drafts: Drafts, doing: Doing): () => void {
  const select = byId<HTMLSelectElement>('chain-select');
  const around = (): Around => {
    const { value: rates } = tenant.rates;
    return {
      rates: new Map(rates?.replicas.map((each) => [each.replica, each])),
      hasRates: rates !== undefined,
      chosen: looked.value.replica,
      pathOf: looked.value.pathOf,
      path: new Set(looked.value.path),
      isDraft: (spi) => drafts.has(spi),
    };
  };
  let current = around();
  const chains = new Keyed<DrawnChain>(
    byId('chain-list'),
    ({ chain }) => chain.spi,
    ({ chain }) => new ChainView(chain.spi, doing, () => current),
  );
  select.addEventListener('change', () => {
    looked.value = { spi: Number(select.value), replica: undefined, pathOf: 0, path: [] };
  });

  const draw = () => {
    const { value: known } = tenant.known;
    if (!known || document.hidden) return;
    current = around();
    options(
      select,
      known.chains.map(({ spi }) => spi),
      looked.value.spi,
    );
    const one = known.chains.filter(({ spi }) => spi === looked.value.spi);
    const wanted = one.length > 0 ? one : known.chains.slice(0, DRAWN);
    const replicas = tenant.replicas.all;
    chains.show(drawn(wanted, replicas, tenant.rates.value));
    const none = byId('no-chains');
    const hidden = one.length > 0 ? 0 : known.chains.length - wanted.length;
    none.hidden = known.chains.length > 0 && hidden === 0;
    const more = `The first ${DRAWN} of ${known.chains.length} chains; choose one to see others.`;
    setText(none, hidden > 0 ? more : 'There are no chains yet.');
    setText(byId('unknown-rates'), unknownText(tenant.rates.value, new Set(replicas.map(({ id }) => id))));
  };
  tenant.known.watch(draw);
  tenant.rates.watch(draw);
  looked.watch(draw);
  document.addEventListener('visibilitychange', draw);
  return draw;
}

/** All, and each; built anew only when there are others. */
function options(select: HTMLSelectElement, spis: readonly number[], chosen: number): void {
  const names = spis.join(' ');
  if (select.dataset.spis !== names) {
    select.dataset.spis = names;
    const each = spis.map((spi) => h('option', { value: spi }, `Chain ${spi}`));
    select.replaceChildren(h('option', { value: 0 }, 'All chains'), ...each);
  }
  const value = spis.includes(chosen) ? `${chosen}` : '0';
  if (select.value !== value) select.value = value;
}
