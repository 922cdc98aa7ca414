/** The whole spec as text, with what is wrong shown where it is. */
import { isMap, isScalar, isSeq, type Node, parseDocument, stringify } from '/yaml/index.js';
import { ControlError, type Spec } from '../../client/index.ts';
import { byId, h, setText } from '../shared/dom.ts';
import { errorText } from '../shared/notice.ts';
import { resolved } from './actions.ts';
import type { Link } from './link.ts';

type Format = 'yaml' | 'json';

const texts: Record<Format, (spec: Spec) => string> = {
  yaml: (spec) => stringify(spec, { lineWidth: 100 }),
  json: (spec) => `${JSON.stringify(spec, null, 2)}\n`,
};

export class SpecDialog {
  readonly #link: Link;
  readonly #dialog = byId<HTMLDialogElement>('spec-dialog');
  readonly #text = h('textarea', {
    ...{ id: 'spec-text', 'aria-labelledby': 'spec-dialog-title', 'aria-describedby': 'spec-problem' },
    ...{ spellcheck: 'false', autocomplete: 'off', wrap: 'off', rows: 22 },
  });
  readonly #format = h('select', { id: 'spec-format', onchange: () => this.#reformat() });
  readonly #problem = h('p', { id: 'spec-problem', class: 'problem', role: 'alert' });

  constructor(link: Link) {
    this.#link = link;
    for (const [value, title] of [
      ['yaml', 'YAML'],
      ['json', 'JSON'],
    ]) {
      this.#format.append(h('option', { value: value! }, title!));
    }
    const close = () => this.#dialog.close();
    const head = h('div', { class: 'head' }, h('h2', { id: 'spec-dialog-title' }, 'The spec'));
    head.append(h('label', { for: 'spec-format' }, 'Format'), this.#format);
    const buttons = h('div', { class: 'buttons' });
    buttons.append(h('button', { type: 'button', onclick: close }, 'Cancel'));
    buttons.append(
      h('button', { type: 'button', class: 'primary', onclick: () => void this.#apply() }, 'Apply'),
    );
    this.#dialog.append(head, this.#text, this.#problem, buttons);
    this.#text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void this.#apply();
    });
    // What is read from the field is what people see from now on.
    this.#text.addEventListener('input', () => this.#say(''));
  }

  /** @param path where something is wrong, with what it is */
  open(path?: string): void {
    const draft = this.#link.draft.value;
    if (!draft) return;
    this.#text.value = texts[this.#format.value as Format](draft.spec);
    this.#say('');
    this.#dialog.showModal();
    this.#text.setSelectionRange(0, 0);
    this.#text.focus();
    const error = this.#link.failure.value;
    if (path !== undefined && error) this.#show(error);
  }

  #reformat(): void {
    const spec = this.#read();
    if (spec) this.#text.value = texts[this.#format.value as Format](spec);
  }

  /** What the text says; undefined when it is no spec, which is then said. */
  #read(): Spec | undefined {
    const document = parseDocument(this.#text.value);
    const [error] = document.errors;
    if (error) {
      this.#say(error.message.split('\n')[0]!.replace(/:$/, ''));
      this.#select(...(error.pos as [number, number]));
      return undefined;
    }
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    // A spec that is text alone is for both directions.
    if (typeof value === 'string') return { both: value };
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Spec;
    this.#say('expected keys such as both, up, down, rules');
    return undefined;
  }

  async #apply(): Promise<void> {
    const spec = this.#read();
    if (!spec) return;
    const outcome = await resolved(this.#link, await this.#link.apply(spec), spec);
    if (outcome === 'applied') this.#dialog.close();
    else if (outcome instanceof Error) this.#show(outcome);
  }

  #show(error: Error): void {
    this.#say(errorText(error));
    const path = error instanceof ControlError ? error.path : undefined;
    const range = path === undefined ? undefined : rangeOf(this.#text.value, path.split('.'));
    if (!range) return;
    const line = this.#text.value.slice(0, range[0]).split('\n').length;
    this.#say(`Line ${line}: ${this.#problem.textContent}`);
    this.#select(...range);
  }

  #say(problem: string): void {
    setText(this.#problem, problem);
    this.#text.setAttribute('aria-invalid', `${problem !== ''}`);
  }

  #select(from: number, to: number): void {
    this.#text.focus();
    this.#text.setSelectionRange(from, Math.max(to, from + 1));
    const lines = this.#text.value.slice(0, from).split('\n').length;
    const height = this.#text.scrollHeight / this.#text.value.split('\n').length;
    this.#text.scrollTop = (lines - 4) * height;
  }
}

/** Where a path is in a text, or what of it there is. */
function rangeOf(text: string, path: readonly string[]): [number, number] | undefined {
  let node: Node | null = parseDocument(text).contents;
  let range = node?.range;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((each) => isScalar(each.key) && String(each.key.value) === key);
      if (!pair) break;
      range = (pair.key as Node).range;
      node = pair.value as Node | null;
    } else if (isSeq(node)) node = (node.items[Number(key)] as Node | undefined) ?? null;
    else break;
    range = node?.range ?? range;
  }
  return range ? [range[0], range[1]] : undefined;
}
