/** The flows of the link: sorted, searched, and each a click away from a rule of its own. */
import type { Flow } from '../../client/index.ts';
import { byId, h, setText } from '../shared/dom.ts';
import { bitRate, bytes, counted, time } from '../shared/format.ts';
import { every, later } from '../shared/live-timers.ts';
import { VirtualRows } from '../shared/virtual-rows.ts';
import { FlowPages, type FlowSort } from './flow-pages.ts';
import type { Link } from './link.ts';

const HEIGHT = 26;
/** Between looks, ms. */
const LOOK = 2000;
/** After the last letter of a search, ms. */
const PATIENCE = 150;

/** Columns that can be sorted by, and those that cannot. */
const COLUMNS: readonly { title: string; sort?: FlowSort; class?: string }[] = [
  { title: 'Flow' },
  { title: 'Rule', class: 'wide' },
  { title: '↑', class: 'number roomy up' },
  { title: '↓', class: 'number roomy down' },
  { title: 'Rate', sort: 'rate', class: 'number' },
  { title: 'Bytes', sort: 'bytes', class: 'number' },
  { title: 'Packets', sort: 'packets', class: 'number wide' },
  { title: 'Seen', sort: 'last', class: 'number wide' },
];

/** @param choose what happens to a flow that was chosen */
export function flowsPanel(link: Link, choose: (flow: Flow) => void): void {
  const search = byId<HTMLInputElement>('flow-search');
  const list = byId('flow-list');
  const pages = new FlowPages((query) => link.client.flows(query), arrived);
  const buttons = heads((sort) => {
    pages.show(sort, search.value.trim());
    rows.scrollToTop();
    mark();
  });
  const rows = new VirtualRows({
    ...{ list, height: HEIGHT, role: 'row', name: 'Flows; Enter makes a rule for one', fill },
    choose: (index) => {
      const flow = pages.get(index);
      if (flow) choose(flow);
    },
  });
  list.setAttribute('aria-colcount', `${COLUMNS.length}`);
  mark();

  const searched = later(PATIENCE, () => {
    pages.show(pages.sort, search.value.trim());
    rows.scrollToTop();
  });
  search.addEventListener('input', searched);
  link.connection.watch((state) => {
    if (state === 'live') pages.show(pages.sort, search.value.trim());
  });
  every(LOOK, () => {
    if (document.hidden || link.connection.value !== 'live') return;
    const { first, end } = rows.range;
    pages.refresh(first, end);
  });

  function arrived(): void {
    rows.count = pages.total;
    rows.refresh();
    list.setAttribute('aria-rowcount', `${pages.total + 1}`);
    setText(byId('flow-count'), pages.total === 1 ? '1 flow' : `${counted(pages.total)} flows`);
  }

  function mark(): void {
    for (const [sort, button] of buttons) button.setAttribute('aria-pressed', `${sort === pages.sort}`);
  }

  function fill(row: HTMLElement, index: number): void {
    if (row.childElementCount === 0) {
      for (const column of COLUMNS) row.append(h('span', { role: 'gridcell', class: column.class }));
    }
    const flow = pages.get(index);
    const texts = flow ? cells(flow, pages.at) : ['…'];
    for (const [i, cell] of [...row.children].entries()) setText(cell, texts[i] ?? '');
  }
}

function heads(show: (sort: FlowSort) => void): Map<FlowSort, HTMLElement> {
  const buttons = new Map<FlowSort, HTMLElement>();
  for (const { title, sort, class: kind } of COLUMNS) {
    if (sort === undefined) {
      byId('flow-sorts').append(h('span', { 'aria-hidden': 'true', class: kind }, title));
      continue;
    }
    const button = h('button', { type: 'button', class: kind, onclick: () => show(sort) }, title);
    buttons.set(sort, button);
    byId('flow-sorts').append(button);
  }
  return buttons;
}

/** `10.0.0.1:4000`, `[fd00::1]:4000`; without ports `10.0.0.1`. */
export function endText(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function cells(flow: Flow, now: number): string[] {
  const { up, down } = flow;
  const sum = (key: 'rate' | 'bytes' | 'packets') => (up?.[key] ?? 0) + (down?.[key] ?? 0);
  const last = Math.max(up?.last ?? 0, down?.last ?? 0);
  const rules = [...new Set([up?.rule, down?.rule].filter((rule) => rule !== undefined))];
  const ago = now - last;
  const rate = (value: number) => (value === 0 ? '–' : bitRate(value));
  return [
    `${flow.protocolName} ${endText(flow.local, flow.localPort)} › ${endText(flow.remote, flow.remotePort)}`,
    rules.join(', '),
    rate(up?.rate ?? 0),
    rate(down?.rate ?? 0),
    rate(sum('rate')),
    bytes(sum('bytes')),
    counted(sum('packets')),
    ago < 1e9 ? 'now' : time(ago),
  ];
}
