/** Packets that were dropped, as it happens, the newest first. */
import type { Drop } from '../../client/index.ts';
import { byId, h, setText } from '../shared/dom.ts';
import { clock, counted } from '../shared/format.ts';
import { VirtualRows } from '../shared/virtual-rows.ts';
import type { Link } from './link.ts';

const HEIGHT = 38;
/** Drops that are kept. */
const KEPT = 1000;

export function dropsPanel(link: Link): void {
  const pause = byId<HTMLButtonElement>('pause-drops');
  /** The newest last. */
  const kept: Drop[] = [];
  let seen = 0;
  let shown: readonly Drop[] = kept;
  const rows = new VirtualRows({
    ...{
      list: byId('drop-list'),
      height: HEIGHT,
      role: 'row',
      name: 'Drops, the newest first; Enter shows the rule',
      fill,
    },
    choose: (index) => {
      const drop = shown.at(-1 - index);
      if (drop) link.selected.value = drop.rule;
    },
  });

  link.drops.watch(({ drops, more }) => {
    kept.push(...drops);
    kept.splice(0, kept.length - KEPT);
    seen += drops.reduce((sum, { packets }) => sum + packets, more);
    rows.count = shown.length;
    byId('drop-list').setAttribute('aria-rowcount', `${shown.length}`);
    setText(
      byId('drop-count'),
      seen === 0 ? 'none since this page is open' : `${counted(seen)} since this page is open`,
    );
    rows.refresh();
  });
  pause.addEventListener('click', () => {
    const paused = shown === kept;
    shown = paused ? [...kept] : kept;
    pause.setAttribute('aria-pressed', `${paused}`);
    rows.count = shown.length;
    rows.refresh();
  });

  function fill(row: HTMLElement, index: number): void {
    if (row.childElementCount === 0) {
      for (const kind of ['way', 'flow', 'why', 'stage faint', 'time faint']) {
        row.append(h('span', { role: 'gridcell', class: kind }));
      }
    }
    const drop = shown.at(-1 - index);
    if (!drop) return;
    const { at, direction, flow, rule, stage, why, packets } = drop;
    const times = packets > 1 ? ` × ${counted(packets)}` : '';
    const texts = [
      ...[direction === 'up' ? '↑' : '↓', flow.replace(' > ', ' › '), `${why}${times}`],
      ...[`${rule}/${stage}`, clock(link.wallClock(at))],
    ];
    for (const [i, text] of texts.entries()) setText(row.children[i]!, text);
    row.children[0]!.className = `way ${direction}`;
  }
}
