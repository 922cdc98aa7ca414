/** The head of the settings: which rule it is, which flows it is for, its preset, and an end to it. */
import { byId, h, setText } from '../shared/dom.ts';
import { matchText } from '../shared/format.ts';
import type { Link } from './link.ts';
import { DEFAULT, ruleOf, sidesOf, withoutRule } from './rules.ts';

export function settingsPanel(link: Link): void {
  const preset = byId<HTMLSelectElement>('preset');
  const remove = byId<HTMLButtonElement>('remove-rule');

  link.presets.watch((presets) => {
    preset.replaceChildren(h('option', { value: '' }, 'none'));
    for (const name of Object.keys(presets)) preset.append(h('option', { value: name }, name));
    show();
  });
  preset.addEventListener('change', () => {
    const { value } = preset;
    link.editSides(() => (value === '' ? { both: 'pass' } : { preset: value }), 'preset');
  });
  remove.addEventListener('click', () => {
    const label = link.selected.value;
    const spec = link.draft.value?.spec;
    if (!spec) return;
    link.edit(withoutRule(spec, label), `${label}/remove`);
    link.news.value = `Rule ${label} is taken out; apply to make it so.`;
    byId('rule-list').focus();
  });
  link.draft.watch(show);
  link.selected.watch(show);

  function show(): void {
    const label = link.selected.value;
    const spec = link.draft.value?.spec;
    setText(byId('settings-title'), label === DEFAULT ? 'All other packets' : label);
    remove.hidden = label === DEFAULT;
    if (!spec) return;
    const match = matchText(ruleOf(spec, label)?.match);
    const others = (spec.rules ?? []).length > 0 ? 'Packets that no rule is for' : 'All packets';
    setText(byId('settings-match'), label === DEFAULT ? others : match);
    const { both, up, down, preset: name } = sidesOf(spec, label) ?? {};
    preset.value =
      name !== undefined && both === undefined && up === undefined && down === undefined ? name : '';
  }
}
