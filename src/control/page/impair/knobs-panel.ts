/** Rate, delay and loss of the rule that is looked at, a slider and a number for each direction. */
import { byId, h, setText } from '../shared/dom.ts';
import { KNOBS, type Knob, knobs, shown, slotOf, slots, valueAt } from './knob.ts';
import type { Link } from './link.ts';
import { sidesOf } from './rules.ts';
import { DIRECTIONS, type Direction, pipelineText, settingOf, stagesOf, turned } from './stages.ts';

const TITLES = { rate: 'Rate', delay: 'Delay', loss: 'Loss' } as const;

/** One slider, with its number. */
class KnobRow {
  readonly #link: Link;
  readonly #direction: Direction;
  readonly #knob: Knob;
  readonly #slider: HTMLInputElement;
  readonly #number: HTMLInputElement;
  readonly #was: HTMLElement;
  readonly element: HTMLElement;

  constructor(link: Link, direction: Direction, knob: Knob) {
    this.#link = link;
    this.#direction = direction;
    this.#knob = knob;
    const title = TITLES[knob.name];
    const id = `${knob.name}-${direction}`;
    this.#slider = h('input', {
      ...{ type: 'range', id, min: 0, max: slots(knob) - 1, step: 1 },
      ...{ 'aria-label': `${title} ${direction}`, 'aria-describedby': `${id}-was` },
      oninput: () => this.#turn(valueAt(knob, Number(this.#slider.value))),
    });
    this.#number = h('input', {
      ...{ type: 'text', id: `${id}-number`, autocomplete: 'off', spellcheck: 'false' },
      ...{ 'aria-label': `${title} ${direction}, as a number`, 'aria-describedby': `${id}-was` },
      onchange: () => this.#type(),
      onblur: () => this.show(),
      onkeydown: (event: KeyboardEvent) => event.key === 'Escape' && this.show(true),
    });
    this.#was = h('span', { class: 'was', id: `${id}-was` });
    const name = h('div', { class: 'knob-name' }, h('label', { for: id }, title), this.#was);
    this.element = h('div', { class: 'knob' }, name, this.#slider, this.#number);
  }

  /** @param typed what is being typed goes as well */
  show(typed = false): void {
    const draft = this.#link.draft.value;
    if (!draft) return;
    const now = this.#setting(draft.spec);
    const before = this.#setting(draft.applied);
    const fixed = 'other' in now;
    this.#slider.disabled = fixed;
    this.#number.disabled = fixed;
    const text = fixed ? now.other : shown(this.#knob, now.value);
    if (!fixed) this.#slider.value = `${slotOf(this.#knob, now.value)}`;
    this.#slider.setAttribute('aria-valuetext', text);
    if (typed || document.activeElement !== this.#number) {
      this.#number.value = text;
      this.#refuse('');
    }
    const changed = JSON.stringify(now) !== JSON.stringify(before);
    this.element.classList.toggle('changed', changed);
    const was = 'other' in before ? before.other : shown(this.#knob, before.value);
    this.#say(changed ? `was ${was}` : fixed ? 'set it as text' : '');
  }

  #setting(spec: Parameters<typeof sidesOf>[0]) {
    const sides = sidesOf(spec, this.#link.selected.value) ?? {};
    const stages = stagesOf(sides, this.#direction, this.#link.presets.value) ?? [];
    return settingOf(stages, this.#knob.name);
  }

  #type(): void {
    const value = this.#knob.read(this.#number.value);
    if (value === null) {
      this.#refuse(`expected ${this.#knob.expected}`);
      return;
    }
    this.#refuse('');
    this.#turn(value);
    this.#number.value = shown(this.#knob, value);
  }

  #turn(value: number | undefined): void {
    const { name } = this.#knob;
    const subject = `${this.#direction}/${name}`;
    const presets = this.#link.presets.value;
    this.#link.editSides((sides) => turned(sides, this.#direction, name, value, presets), subject);
  }

  #refuse(why: string): void {
    this.#number.setAttribute('aria-invalid', `${why !== ''}`);
    if (why !== '') this.#say(why);
  }

  #say(text: string): void {
    setText(this.#was, text);
  }
}

export class KnobsPanel {
  readonly #link: Link;
  readonly #rows: KnobRow[] = [];
  readonly #legends = new Map<Direction, HTMLElement>();
  readonly #pipelines = new Map<Direction, HTMLElement>();

  constructor(link: Link) {
    this.#link = link;
    for (const direction of DIRECTIONS) {
      const legend = h('legend', { class: direction });
      const pipeline = h('p', { class: 'pipeline' });
      const rows = KNOBS.map((name) => new KnobRow(link, direction, knobs[name]));
      byId('knobs').append(
        h('fieldset', { class: `way-${direction}` }, legend, ...rows.map(({ element }) => element), pipeline),
      );
      this.#rows.push(...rows);
      this.#legends.set(direction, legend);
      this.#pipelines.set(direction, pipeline);
    }
    for (const topic of [link.draft, link.selected, link.presets]) topic.watch(() => this.#show());
    link.hello.watch((hello) => {
      const { left = 'left', right = 'right' } = hello ?? {};
      setText(this.#legends.get('up')!, `↑ up: ${left} to ${right}`);
      setText(this.#legends.get('down')!, `↓ down: ${right} to ${left}`);
    });
  }

  #show(): void {
    for (const row of this.#rows) row.show();
    const spec = this.#link.draft.value?.spec;
    const sides = spec && sidesOf(spec, this.#link.selected.value);
    if (!sides) return;
    for (const [direction, element] of this.#pipelines) {
      const text = pipelineText(sides, direction, this.#link.presets.value);
      const nothing =
        this.#link.selected.value === 'default'
          ? 'pass'
          : 'nothing said: the next rule that matches has its packets';
      element.classList.toggle('faint', !text);
      setText(element, text === undefined ? nothing : text || 'pass');
    }
  }
}
