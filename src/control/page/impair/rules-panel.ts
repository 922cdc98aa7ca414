/** The list of rules, with what each is doing now; the selected one is the one that is looked at. */
import { byId, h, setText } from '../shared/dom.ts';
import { bitRate, matchText, percent } from '../shared/format.ts';
import { VirtualRows } from '../shared/virtual-rows.ts';
import { lately } from './history.ts';
import type { Link } from './link.ts';
import { DEFAULT, labelsOf, ruleOf } from './rules.ts';
import { DIRECTIONS } from './stages.ts';

const HEIGHT = 40;

export function rulesPanel(link: Link): void {
  let labels: string[] = [];
  const rows = new VirtualRows({
    ...{ list: byId('rule-list'), height: HEIGHT, role: 'option', name: 'Rules', fill },
    move: select,
    choose: select,
  });

  link.draft.watch((draft) => {
    labels = draft ? labelsOf(draft.spec) : [];
    rows.count = labels.length;
    rows.active = Math.max(0, labels.indexOf(link.selected.value));
  });
  link.selected.watch((label) => {
    rows.active = Math.max(0, labels.indexOf(label));
  });
  link.stats.watch(() => rows.refresh());

  function select(index: number): void {
    link.selected.value = labels[index] ?? DEFAULT;
  }

  function fill(row: HTMLElement, index: number): void {
    if (row.childElementCount === 0) {
      const name = h('span', { class: 'name' }, h('b'), h('small'));
      const figure = (kind: string) => h('span', { class: `number ${kind}` });
      row.append(name, figure('up'), figure('down'), figure('loss'));
    }
    const label = labels[index]!;
    row.setAttribute('aria-selected', `${label === link.selected.value}`);
    const [name, ...figures] = row.children;
    const draft = link.draft.value;
    const match = draft ? matchText(ruleOf(draft.spec, label)?.match) : '';
    setText(name!.children[0]!, label);
    setText(name!.children[1]!, label === DEFAULT ? 'all other packets' : match);
    const past = link.history.past(label);
    const rates = DIRECTIONS.map((way) => lately(past, way, 'throughput'));
    const losses = DIRECTIONS.map((way) => lately(past, way, 'loss') ?? 0);
    const texts = [...rates.map((rate) => (rate === null ? '–' : bitRate(rate)))];
    const loss = Math.max(...losses);
    texts.push(loss === 0 ? '–' : percent(loss / 100));
    for (const [i, figure] of figures.entries()) setText(figure, texts[i]!);
    // The figures change all the time; a screen reader is told what does not.
    row.setAttribute('aria-label', label === DEFAULT ? 'default, all other packets' : `${label}, ${match}`);
  }
}
