/** The page of an impaired link: puts its parts together. */
import { ImpairClient } from '../../client/index.ts';
import { showConnection } from '../shared/connection.ts';
import { byId, setText } from '../shared/dom.ts';
import { isRefusal, keepWatching } from '../shared/live-stream.ts';
import { actions } from './actions.ts';
import { Charts } from './charts.ts';
import { dropsPanel } from './drops-panel.ts';
import { flowsPanel } from './flows-panel.ts';
import { KnobsPanel } from './knobs-panel.ts';
import { Link } from './link.ts';
import { RuleDialog } from './rule-dialog.ts';
import { rulesPanel } from './rules-panel.ts';
import { settingsPanel } from './settings-panel.ts';
import type { SpecDialog } from './spec-dialog.ts';
import { stagesTable } from './stages-table.ts';

/** Between messages of the stream, ms: `?interval=250`. */
const INTERVAL = Number(new URLSearchParams(location.search).get('interval')) || 500;
/** Between messages a connection may be late by so much, ms. */
const SILENCE = 5000;
const client = new ImpairClient();
const link = new Link(client);

const ruleDialog = new RuleDialog(link);
const charts = new Charts();
new KnobsPanel(link);
settingsPanel(link);
rulesPanel(link);
stagesTable(link);
flowsPanel(link, (flow) => ruleDialog.forFlow(flow));
dropsPanel(link);
// What reads YAML is large, and not needed until somebody asks for it.
const specDialog = () =>
  (loading ??= import('./spec-dialog.ts').then(({ SpecDialog }) => new SpecDialog(link)));
let loading: Promise<SpecDialog> | undefined;
actions(link, async (path) => (await specDialog()).open(path));
byId('add-rule').addEventListener('click', () => ruleDialog.empty());

const showCharts = () => {
  if (!document.hidden) charts.show(link.history.past(link.selected.value));
};
link.stats.watch(showCharts);
link.selected.watch(showCharts);
document.addEventListener('visibilitychange', showCharts);

showConnection(link.connection);
link.hello.watch((hello) => {
  if (!hello) return;
  setText(byId('left'), hello.left);
  setText(byId('right'), hello.right);
  document.title = `${hello.left} ⇄ ${hello.right}`;
});
link.draft.watch((draft) => {
  const { value: hello } = link.hello;
  if (draft && hello) setText(byId('about'), `revision ${draft.revision}, seed ${hello.seed}`);
});

try {
  await link.loadPresets();
} catch (error) {
  // Without a server there are none; the stream says so, and tries again.
  if (isRefusal(error)) refused(error);
}
keepWatching(
  (opening) => client.stream({ interval: `${INTERVAL}ms`, parts: 'stats,drops', ...opening }),
  SILENCE + INTERVAL,
  {
    message: (message) => link.receive(message),
    connection: (connected) => link.connected(connected),
  },
).catch(refused);

function refused(error: Error): void {
  link.connected(false);
  link.failure.value = error;
}
