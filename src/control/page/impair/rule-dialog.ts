/** Makes a rule, for a flow that was chosen or from nothing. It is an edit like others, and in force when it is applied. */
import type { Flow, Rule, Sides } from '../../client/index.ts';
import { byId, h, setText } from '../shared/dom.ts';
import { endText } from './flows-panel.ts';
import type { Link } from './link.ts';
import { DEFAULT, freeLabel, labelsOf, sidesOf, withRule } from './rules.ts';

interface Scope {
  title: string;
  match: Rule['match'];
}

const LABEL = /^[\w-]{1,64}$/;

export class RuleDialog {
  readonly #link: Link;
  readonly #dialog = byId<HTMLDialogElement>('rule-dialog');

  constructor(link: Link) {
    this.#link = link;
  }

  forFlow(flow: Flow): void {
    const service = flow.remotePort === 0 ? '' : `-${flow.remotePort}`;
    this.#open(`${flow.protocolName}${service}`, scopesOf(flow), flow.up?.rule ?? flow.down?.rule ?? DEFAULT);
  }

  empty(): void {
    this.#open('rule', [], DEFAULT);
  }

  /** @param from the rule whose settings the new one starts with */
  #open(wanted: string, scopes: readonly Scope[], from: string): void {
    const spec = this.#link.draft.value?.spec;
    if (!spec) return;
    const label = h('input', {
      id: 'rule-label',
      value: freeLabel(spec, wanted),
      autocomplete: 'off',
      spellcheck: 'false',
    });
    const match = h('input', {
      ...{
        id: 'rule-match',
        autocomplete: 'off',
        spellcheck: 'false',
        'aria-describedby': 'rule-match-help',
      },
      placeholder: '10.0.0.0/8:tcp:80-90',
    });
    const problem = h('p', { class: 'problem', role: 'alert' });
    const choices = scopes.map(({ title }, i) => {
      const radio = h('input', { type: 'radio', name: 'scope', value: i, checked: i === 0 });
      return h('label', {}, radio, ` ${title}`);
    });
    const own = h('div', { class: 'field' }, h('label', { for: 'rule-match' }, 'Flows'), match);
    own.append(
      h(
        'small',
        { id: 'rule-match-help', class: 'hint' },
        'address[:protocol[:port[-port]]], * for any, IPv6 in brackets',
      ),
    );
    const form = h(
      'form',
      { method: 'dialog' },
      h('h2', { id: 'rule-dialog-title' }, 'A rule of its own'),
      scopes.length > 0
        ? h('fieldset', { class: 'choices' }, h('legend', { class: 'choices-title' }, 'For'), ...choices)
        : own,
      h('div', { class: 'field' }, h('label', { for: 'rule-label' }, 'Label'), label),
      h(
        'p',
        { class: 'faint' },
        `It starts with the settings of ${from}, goes before the other rules, and is in force once it is applied.`,
      ),
      problem,
      h(
        'div',
        { class: 'buttons' },
        h('button', { type: 'button', onclick: () => this.#dialog.close() }, 'Cancel'),
        h('button', { class: 'primary' }, 'Add rule'),
      ),
    );
    form.addEventListener('submit', (event) => {
      const chosen = Number(new FormData(form).get('scope') ?? -1);
      const wrong = this.#add(label.value.trim(), scopes[chosen]?.match ?? match.value.trim(), from);
      if (wrong === undefined) return;
      event.preventDefault();
      setText(problem, wrong);
    });
    this.#dialog.replaceChildren(form);
    this.#dialog.showModal();
  }

  /** Why not, or undefined. */
  #add(label: string, match: Rule['match'], from: string): string | undefined {
    const spec = this.#link.draft.value!.spec;
    if (!LABEL.test(label)) return 'A label has letters, digits, "_" and "-", at most 64.';
    if (labelsOf(spec).includes(label)) return `There is a rule ${label} already.`;
    if (match === '') return 'Say which flows it is for; * are all.';
    const sides: Sides = sidesOf(spec, from) ?? {};
    const something = Object.keys(sides).length > 0 ? sides : { both: 'pass' };
    this.#link.edit(withRule(spec, { label, match, ...something }), `${label}/add`);
    this.#link.selected.value = label;
    this.#link.news.value = `Rule ${label} is added; apply to put it in force.`;
    // Once the dialog has given the focus back.
    this.#dialog.addEventListener('close', () => byId('rate-up').focus(), { once: true });
    return undefined;
  }
}

/** From the narrowest to the widest. */
function scopesOf(flow: Flow): Scope[] {
  const { protocolName: protocol, remote, remotePort, local, localPort } = flow;
  const to = endText(remote, remotePort);
  const scopes: Scope[] = [
    { title: `this flow: ${protocol} ${endText(local, localPort)} › ${to}`, match: flow.match },
  ];
  const number = flow.protocol;
  const ported = remotePort !== 0 && flow.match.port !== undefined;
  if (ported) {
    scopes.push({
      title: `${protocol} to ${to}`,
      match: { remote, protocol: number, port: `${remotePort}` },
    });
    scopes.push({
      title: `${protocol} to port ${remotePort} of any host`,
      match: { protocol: number, port: `${remotePort}` },
    });
  }
  scopes.push({ title: `everything to and from ${remote}`, match: { remote } });
  return scopes;
}
