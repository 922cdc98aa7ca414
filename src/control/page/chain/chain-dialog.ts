/**
 * Edits a chain. What is edited stays a draft until it is saved or thrown away; it is saved only over the revision it was made from, and
 * when there is another one meanwhile, both are shown and somebody decides.
 */
import { byId, h, setText } from '../shared/dom.ts';
import { errorText } from '../shared/notice.ts';
import { type Draft, type Drafts, draftOf, sayChain } from './drafts.ts';
import { inForce } from './picture.ts';
import type { Tenant } from './tenant.ts';

/** What SPIs there are: 23 bits. */
const MOST = 0x7fffff;

export class ChainDialog {
  readonly #tenant: Tenant;
  readonly #drafts: Drafts;
  readonly #changed: () => void;
  readonly #dialog = byId<HTMLDialogElement>('chain-dialog');
  readonly #title = h('h2', { id: 'chain-dialog-title' });
  readonly #spi = h('input', { id: 'chain-spi', inputmode: 'numeric', autocomplete: 'off', maxlength: 7 });
  readonly #spiField = h(
    'div',
    { class: 'field' },
    h('label', { for: 'chain-spi' }, 'Number (SPI)'),
    this.#spi,
  );
  readonly #list = h('ol', { id: 'chain-functions', 'aria-label': 'Functions in the order of the packets' });
  readonly #add = h('select', { id: 'chain-add', 'aria-label': 'Function to add' });
  readonly #symmetric = h('input', { type: 'checkbox', id: 'chain-symmetric' });
  readonly #conflict = h('div', { id: 'chain-conflict', role: 'alert' });
  readonly #problem = h('p', { id: 'chain-problem', class: 'problem', role: 'alert' });
  readonly #save = h(
    'button',
    { type: 'button', class: 'primary', onclick: () => void this.#saved() },
    'Save',
  );
  #draft: Draft | undefined;
  #isNew = false;
  #isSaving = false;

  /** @param changed called when there are other drafts than before */
  constructor(tenant: Tenant, drafts: Drafts, changed: () => void) {
    this.#tenant = tenant;
    this.#drafts = drafts;
    this.#changed = changed;
    const add = h(
      'button',
      { type: 'button', id: 'chain-add-button', onclick: () => this.#addFunction() },
      'Add',
    );
    const symmetric = h(
      'label',
      {},
      this.#symmetric,
      ' Replies pass the same replicas, in the opposite order',
    );
    const buttons = h('div', { class: 'buttons' });
    buttons.append(
      h('button', { type: 'button', id: 'chain-discard', onclick: () => this.#discard() }, 'Throw away'),
      h(
        'button',
        { type: 'button', id: 'chain-close', onclick: () => this.#dialog.close() },
        'Close, keep the draft',
      ),
      this.#save,
    );
    const adding = h('div', { class: 'adding' }, this.#add, add);
    this.#dialog.append(this.#title, this.#spiField, this.#list, adding, symmetric);
    this.#dialog.append(this.#conflict, this.#problem, buttons);
    this.#symmetric.addEventListener('change', () => this.#edit({ symmetric: this.#symmetric.checked }));
    this.#spi.addEventListener('input', () => this.#say(''));
    this.#dialog.addEventListener('close', () => this.#closed());
    tenant.known.watch(() => this.#dialog.open && this.#show());
  }

  /** An edit that is under way goes on. */
  open(spi: number): void {
    const chain = this.#tenant.chain(spi);
    if (!chain) return;
    this.#isNew = false;
    this.#begin(this.#drafts.begin(chain));
  }

  openNew(): void {
    const chains = this.#tenant.known.value?.chains ?? [];
    this.#isNew = true;
    this.#spi.value = `${Math.min(MOST, Math.max(0, ...chains.map(({ spi }) => spi)) + 1)}`;
    this.#begin({ spi: 0, functions: [], symmetric: true, rev: 0, edited: false });
  }

  #begin(draft: Draft): void {
    this.#draft = draft;
    this.#say('');
    this.#show();
    this.#dialog.showModal();
    (this.#isNew ? this.#spi : this.#add).focus();
  }

  #closed(): void {
    const draft = this.#draft;
    if (draft && !this.#isNew && !this.#isSaving) this.#drafts.keep(draft, this.#tenant.chain(draft.spi));
    this.#changed();
  }

  #show(): void {
    // What nobody has edited follows what is in force.
    const now = this.#draft && !this.#isNew ? this.#tenant.chain(this.#draft.spi) : undefined;
    if (now && !this.#draft!.edited) this.#draft = draftOf(now);
    const draft = this.#draft;
    if (!draft) return;
    setText(this.#title, this.#isNew ? 'A new chain' : `Chain ${draft.spi}`);
    this.#spiField.hidden = !this.#isNew;
    this.#symmetric.checked = draft.symmetric;
    this.#showFunctions(draft);
    this.#showChoice();
    this.#showConflict(draft);
  }

  #showFunctions({ functions }: Draft): void {
    const focused = document.activeElement?.getAttribute('aria-label');
    const last = functions.length - 1;
    const button = (at: number, label: string, text: string, to: () => void, disabled = false) =>
      h(
        'button',
        {
          type: 'button',
          class: 'quiet',
          'aria-label': `${label} ${functions[at]}, ${at + 1}`,
          onclick: to,
          disabled,
        },
        text,
      );
    const rows = functions.map((name, at) =>
      h(
        'li',
        {},
        h('span', {}, name),
        button(at, 'Earlier:', '↑', () => this.#move(at, -1), at === 0),
        button(at, 'Later:', '↓', () => this.#move(at, 1), at === last),
        button(at, 'Remove', '✕', () => this.#remove(at)),
      ),
    );
    const none = h('li', { class: 'faint' }, 'No function yet.');
    this.#list.replaceChildren(...(rows.length > 0 ? rows : [none]));
    if (!focused) return;
    for (const each of this.#list.querySelectorAll('button'))
      if (each.getAttribute('aria-label') === focused) each.focus();
  }

  #showChoice(): void {
    const { value: known } = this.#tenant.known;
    const names = (known?.functions ?? []).map(({ name }) => name).filter((name) => !ENDS.includes(name));
    if (this.#add.dataset.names === names.join(' ')) return;
    this.#add.dataset.names = names.join(' ');
    const { value } = this.#add;
    this.#add.replaceChildren(...names.map((name) => h('option', { value: name }, name)));
    if (names.includes(value)) this.#add.value = value;
  }

  #showConflict(draft: Draft): void {
    const chain = this.#isNew ? undefined : this.#tenant.chain(draft.spi);
    const isBehind = !this.#isNew && !this.#isSaving && draft.rev !== (chain?.rev ?? 0);
    this.#conflict.hidden = !isBehind;
    this.#save.disabled = isBehind;
    if (!isBehind) {
      this.#conflict.replaceChildren();
      return;
    }
    const theirs = chain && inForce(chain);
    const there = theirs
      ? `Revision ${theirs.revision} is in force now: ${sayChain(theirs)}.`
      : 'It is not there any more.';
    const take = () => this.#discard();
    const over = () => {
      this.#edit({ rev: chain?.rev ?? 0 });
      void this.#saved();
    };
    this.#conflict.replaceChildren(
      h('p', {}, h('b', {}, 'Changed elsewhere meanwhile. '), there),
      h('p', {}, `Yours: ${sayChain(draft)}.`),
      h(
        'div',
        { class: 'buttons' },
        h('button', { type: 'button', id: 'chain-theirs', onclick: take }, 'Take theirs'),
        h('button', { type: 'button', id: 'chain-mine', onclick: over }, 'Save mine over it'),
      ),
    );
  }

  // ── Editing

  #edit(change: Partial<Draft>): void {
    if (!this.#draft) return;
    this.#draft = { ...this.#draft, ...change, edited: true };
    this.#say('');
    this.#show();
  }

  #addFunction(): void {
    const name = this.#add.value;
    if (name === '') this.#say('There is no function yet: declare one first.');
    else this.#edit({ functions: [...this.#draft!.functions, name] });
  }

  #remove(at: number): void {
    this.#edit({ functions: this.#draft!.functions.filter((_, i) => i !== at) });
    this.#add.focus();
  }

  #move(at: number, by: number): void {
    const functions = [...this.#draft!.functions];
    const [moved] = functions.splice(at, 1);
    functions.splice(at + by, 0, moved!);
    this.#edit({ functions });
    const label = `${by < 0 ? 'Earlier:' : 'Later:'} ${moved}, ${at + by + 1}`;
    for (const each of this.#list.querySelectorAll('button'))
      if (each.getAttribute('aria-label') === label) each.focus();
  }

  #discard(): void {
    if (this.#draft) this.#drafts.drop(this.#draft.spi);
    this.#draft = undefined;
    this.#dialog.close();
  }

  async #saved(): Promise<void> {
    const draft = this.#isNew ? this.#numbered() : this.#draft;
    if (!draft) return;
    if (draft.functions.length === 0) {
      this.#say('A chain has at least one function.');
      return;
    }
    this.#isSaving = true;
    this.#save.disabled = true;
    const outcome = await this.#drafts.save(draft);
    // What is known now is what it was compared with.
    await this.#tenant.load().catch(() => {});
    this.#isSaving = false;
    this.#save.disabled = false;
    this.#changed();
    if (outcome === 'saved') {
      this.#draft = undefined;
      this.#dialog.close();
      this.#tenant.news.value = `Chain ${draft.spi} is saved: ${sayChain(draft)}.`;
      return;
    }
    if (outcome instanceof Error) this.#say(errorText(outcome));
    else if (this.#isNew) this.#say(`There is a chain ${draft.spi} already: choose another number.`);
    if (this.#isNew) this.#drafts.drop(draft.spi);
    // It may have been closed meanwhile: the draft stays.
    if (this.#dialog.open) this.#show();
  }

  #numbered(): Draft | undefined {
    const spi = Number(this.#spi.value);
    if (/^\d+$/.test(this.#spi.value) && spi >= 1 && spi <= MOST) return { ...this.#draft!, spi };
    this.#say(`Number: expected 1 to ${MOST}.`);
    return undefined;
  }

  #say(problem: string): void {
    setText(this.#problem, problem);
  }
}

const ENDS = ['ingress', 'egress'];
