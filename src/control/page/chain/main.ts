/** The page of Roulette: puts its parts together. */
import { RouletteClient, type TenantDocument } from '../../client/roulette.ts';
import { showConnection } from '../shared/connection.ts';
import { announce, byId, h, setText } from '../shared/dom.ts';
import { isRefusal, keepWatching } from '../shared/live-stream.ts';
import { every, milliseconds } from '../shared/live-timers.ts';
import { showNotice } from '../shared/notice.ts';
import { Topic } from '../shared/topic.ts';
import { ChainDialog } from './chain-dialog.ts';
import { chainsPanel, type Looked } from './chains-panel.ts';
import { Drafts } from './drafts.ts';
import { endsPanel } from './ends-panel.ts';
import { flowsPanel } from './flows-panel.ts';
import { begin } from './live-start.ts';
import { Tenant } from './tenant.ts';
import { askToken, forgetToken, keepToken, keptToken } from './token-dialog.ts';

/** Between looks at the rates, ms; and at how many flows there are, which the watch here does not tell. */
const RATES = 1000;
const COUNTS = 5000;
/** A beat comes every second: without one for so long, ms, there is no connection. */
const SILENCE = 4000;
/** Flows and leases are many, and not drawn one by one; the tenant's value has a secret that nobody here needs. */
const KINDS = ['function', 'chain', 'replica', 'lease', 'classifier', 'suspect'] as const;

const query = new URLSearchParams(location.search);
// A token belongs in no address: who opened one has its cookie now, or a wrong one.
if (query.has('token')) {
  query.delete('token');
  history.replaceState(null, '', query.size > 0 ? `/?${query}` : '/');
}

const failure = new Topic<Error | undefined>(undefined);
showNotice(failure);
const connection = byId('connection');

const start = await begin(keptToken(), {
  askToken,
  lost: () => {
    connection.dataset.state = 'lost';
    setText(connection, 'no connection, trying again');
  },
  empty: () => {
    connection.dataset.state = 'live';
    setText(connection, 'live');
    setText(byId('about'), 'There is no tenant yet: tunconnector chain set tenant --tenant 42');
  },
  failed: (error) => {
    failure.value = error;
  },
});
if (start.token !== undefined) {
  keepToken(start.token);
  byId('forget').hidden = false;
  byId('forget').addEventListener('click', () => {
    forgetToken();
    location.reload();
  });
}
failure.value = undefined;
const wanted = Number(query.get('tenant') ?? Number.NaN);
const chosen = start.tenants.find(({ tenant }) => tenant === wanted) ?? start.tenants[0]!;
if (query.has('tenant') && chosen.tenant !== wanted)
  failure.value = new Error(`There is no tenant ${query.get('tenant')}, or it is none of yours.`);
run(chosen, start.tenants, start.token);

function run(
  { tenant: id, description }: TenantDocument,
  tenants: readonly TenantDocument[],
  token: string | undefined,
): void {
  const client = new RouletteClient({ tenant: id, ...(token !== undefined && { token }) });
  const tenant = new Tenant(client, milliseconds);
  const looked = new Topic<Looked>({ spi: 0, replica: undefined, pathOf: 0, path: [] });
  const drafts = new Drafts((spi, body) => client.putChain(spi, body));
  document.title = `Roulette, tenant ${id}`;
  chooser(tenants, id);
  showConnection(tenant.connection);
  tenant.news.watch(announce);
  tenant.news.watch((text) => setText(byId('pending'), text));
  tenant.known.watch((known) => {
    const what = description === '' ? '' : `${description}, `;
    setText(byId('about'), known ? `${what}registry revision ${known.rev}` : '');
  });

  const dialog = new ChainDialog(tenant, drafts, () => draw());
  const draw = chainsPanel(tenant, looked, drafts, {
    edit: (spi) => dialog.open(spi),
    choose: (replica) => {
      const now = looked.value;
      looked.value = { ...now, pathOf: 0, path: [], replica: now.replica === replica ? undefined : replica };
    },
    serve: (replica, state) => void tenant.serve(replica, state).catch(failed),
  });
  byId('new-chain').addEventListener('click', () => dialog.openNew());
  endsPanel(tenant);
  flowsPanel(tenant, looked);
  addEventListener('beforeunload', (event) => {
    if (drafts.size > 0) event.preventDefault();
  });

  const isLive = () => tenant.connection.value === 'live' && !document.hidden;
  const passing = (error: unknown) => {
    if (isRefusal(error) && error.status !== 503) failed(error);
  };
  every(RATES, () => isLive() && void tenant.loadRates().catch(passing));
  every(COUNTS, () => isLive() && void tenant.load().catch(passing));
  keepWatching((opening) => client.watch({ kinds: [...KINDS], ...opening }), SILENCE, {
    message: (message) => {
      if (tenant.receive(message)) void tenant.load().catch(passing);
    },
    connection: (connected) => tenant.connected(connected),
  }).catch((error: Error) => {
    tenant.connected(false);
    failed(error);
    // It was taken out of those that are known: there is another one to be entered.
    if (isRefusal(error) && error.status === 401) forgetToken();
  });

  function failed(error: unknown): void {
    failure.value = error instanceof Error ? error : new Error(String(error));
    // What was refused for its revision is shown as it is now.
    if (isRefusal(error) && error.status === 412) void tenant.load().catch(passing);
  }
}

function chooser(tenants: readonly TenantDocument[], id: number): void {
  const select = byId<HTMLSelectElement>('tenant');
  const name = ({ tenant, description }: TenantDocument) =>
    description === '' ? `${tenant}` : `${tenant}: ${description}`;
  select.append(
    ...tenants.map((each) => h('option', { value: each.tenant, selected: each.tenant === id }, name(each))),
  );
  select.addEventListener('change', () => {
    location.search = `?tenant=${select.value}`;
  });
}
