/** What each stage of a rule did so far: a table under the charts. */
import type { RuleStats, StageStats } from '../../client/index.ts';
import { byId, h, setText } from '../shared/dom.ts';
import { counted, time } from '../shared/format.ts';
import type { Link } from './link.ts';
import { labelsOf } from './rules.ts';
import { DIRECTIONS, type Direction } from './stages.ts';

const ARROWS = { up: '↑', down: '↓' } as const;

export function stagesTable(link: Link): void {
  const body = byId('stage-rows');
  link.stats.watch(show);
  link.selected.watch(show);

  function show(): void {
    if (document.hidden) return;
    const found = DIRECTIONS.flatMap((direction) =>
      stagesOf(link, direction).map((stage) => ({ direction, stage })),
    );
    while (body.childElementCount < found.length) body.append(row());
    while (body.childElementCount > found.length) body.lastElementChild!.remove();
    for (const [i, { direction, stage }] of found.entries()) {
      const element = body.children[i]!;
      element.classList.toggle('leaving', stage.leaving);
      for (const [n, text] of cells(direction, stage).entries()) setText(element.children[n]!, text);
      element.children[0]!.className = direction;
    }
    byId('stages').hidden = found.length === 0;
    const why = whyNoFigures(link);
    byId('no-figures').hidden = why === undefined;
    setText(byId('no-figures'), why ?? '');
  }
}

function stagesOf(link: Link, direction: Direction): readonly StageStats[] {
  const rules: readonly RuleStats[] = link.stats.value?.[direction].rules ?? [];
  return rules.find(({ label }) => label === link.selected.value)?.stages ?? [];
}

/** A rule may be there and its figures not. */
function whyNoFigures({ stats, selected, draft }: Link): string | undefined {
  if (!stats.value || !draft.value) return undefined;
  const told = DIRECTIONS.flatMap((direction) => stats.value![direction].rules);
  if (told.some(({ label }) => label === selected.value)) return undefined;
  if (!labelsOf(draft.value.applied).includes(selected.value))
    return 'No figures yet: the rule is not in force.';
  return 'No figures: other rules are busier, and those of the 64 busiest of each direction are shown.';
}

function row(): HTMLElement {
  const figure = () => h('td', { class: 'number' });
  const name = h('th', { scope: 'row' });
  return h('tr', {}, name, figure(), figure(), h('td'), figure(), figure(), figure());
}

function cells(direction: Direction, stage: StageStats): string[] {
  const { name, packets, packetsOut, drops, held, waiting, lateness, leaving } = stage;
  const reasons = Object.entries(drops)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${counted(count)} ${reason}`);
  const late = (ns: number) => (lateness.count === 0 ? '' : time(ns));
  return [
    `${ARROWS[direction]} ${name}${leaving ? ' (leaving)' : ''}`,
    counted(packets),
    counted(packetsOut),
    reasons.join(', '),
    counted(waiting ?? held),
    late(lateness.p50),
    late(lateness.p99),
  ];
}
