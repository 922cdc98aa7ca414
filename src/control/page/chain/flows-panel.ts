/** Flows and the replicas on their paths: searched, narrowed to a chain or a replica, and shown in the picture when one is chosen. */
import type { FlowDocument } from '../../client/roulette.ts';
import { announce, byId, h, setText } from '../shared/dom.ts';
import { counted } from '../shared/format.ts';
import { every, later } from '../shared/live-timers.ts';
import type { Topic } from '../shared/topic.ts';
import { VirtualRows } from '../shared/virtual-rows.ts';
import type { Looked } from './chains-panel.ts';
import { Flows, MOST } from './flow-list.ts';
import type { Tenant } from './tenant.ts';

const HEIGHT = 26;
/** Between looks, ms. */
const LOOK = 2000;
/** After the last letter of a search, ms. */
const PATIENCE = 200;

export function flowsPanel(tenant: Tenant, looked: Topic<Looked>): void {
  const search = byId<HTMLInputElement>('flow-search');
  const filter = byId<HTMLButtonElement>('flow-filter');
  const flows = new Flows((query) => tenant.client.flows(query), changed);
  const rows = new VirtualRows({
    ...{ list: byId('flow-list'), height: HEIGHT, role: 'row', name: 'Flows; Enter shows the path', fill },
    choose: (index) => {
      const flow = flows.get(index);
      if (!flow) return;
      looked.value = { ...looked.value, pathOf: flow.spi, path: [...flow.path, flow.egress] };
      announce(`${flow.key}: ${pathText(flow)}`);
    },
  });

  function changed(): void {
    rows.count = flows.count;
    byId('flow-list').setAttribute('aria-rowcount', `${flows.count}`);
    const all = counted(flows.total);
    setText(
      byId('flow-count'),
      flows.total > MOST ? `the first ${counted(MOST)} of ${all}; search for others` : all,
    );
    rows.refresh();
  }

  function fill(row: HTMLElement, index: number): void {
    flows.reach(rows.range.end);
    const flow = flows.get(index);
    while (row.children.length < 4) row.append(h('span', { role: 'gridcell' }));
    const texts = flow
      ? [flow.key, `${flow.spi}`, `${pathText(flow)}${flow.pinned ? ', pinned' : ''}`, flow.id]
      : ['…', '', '', ''];
    for (const [i, cell] of [...row.children].entries()) {
      cell.className = ['', 'number', 'path', 'wide faint'][i]!;
      setText(cell, texts[i]!);
    }
    row.title = flow
      ? `${flow.key}\nrevision ${flow.revision}, generation ${flow.generation}: ${pathText(flow)}`
      : '';
  }

  const show = () => {
    const { spi, replica } = looked.value;
    const words = search.value.trim();
    flows.show({
      ...(words !== '' && { search: words }),
      ...(replica !== undefined ? { replica } : {}),
      ...(spi !== 0 && { spi }),
    });
    rows.scrollToTop();
  };
  let shown = '';
  looked.watch(({ spi, replica }) => {
    filter.hidden = replica === undefined;
    if (replica !== undefined) setText(filter, `through replica ${replica} ✕`);
    filter.setAttribute('aria-label', `Show flows through other replicas than ${replica}, too`);
    const now = `${spi} ${replica}`;
    if (now === shown) return;
    shown = now;
    show();
  });
  filter.addEventListener('click', () => {
    looked.value = { ...looked.value, replica: undefined };
    search.focus();
  });
  search.addEventListener('input', later(PATIENCE, show));
  every(LOOK, () => {
    if (!document.hidden && tenant.connection.value === 'live') flows.refresh(rows.range.end);
  });
}

/** `17 › 33 › egress 9`; a slot that waits for a replica is a question mark. */
export function pathText({ path, egress }: Pick<FlowDocument, 'path' | 'egress'>): string {
  const slots = path.map((id) => (id === 0 ? '?' : `${id}`));
  return [...slots, egress === 0 ? 'egress ?' : `egress ${egress}`].join(' › ');
}
