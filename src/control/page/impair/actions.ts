/** Apply and undo, and what they have to say. */
import { ControlError } from '../../client/index.ts';
import { announce, byId, h, setText } from '../shared/dom.ts';
import { showNotice } from '../shared/notice.ts';
import { ask } from '../shared/question.ts';
import type { Link, Outcome } from './link.ts';

/** @param editText opens the spec as text, at a path */
export function actions(link: Link, editText: (path?: string) => unknown): void {
  const apply = byId<HTMLButtonElement>('apply');
  const undo = byId<HTMLButtonElement>('undo');
  const pending = byId('pending');

  link.draft.watch((draft) => {
    const edits = draft?.edits ?? 0;
    apply.disabled = edits === 0;
    undo.disabled = !draft?.undoable;
    undo.title =
      edits > 0 ? 'Takes back the last change, which is not applied yet' : 'Takes back what was applied last';
    const changes = edits === 1 ? '1 change is not applied' : `${edits} changes are not applied`;
    setText(pending, edits === 0 ? '' : draft?.behind ? `${changes}; changed elsewhere meanwhile` : changes);
    pending.classList.toggle('behind', draft?.behind ?? false);
  });
  apply.addEventListener('click', () => void applyDraft());
  undo.addEventListener('click', () => void link.undo());
  byId('edit-spec').addEventListener('click', () => editText());
  document.addEventListener('keydown', (event) => {
    if (!(event.ctrlKey || event.metaKey) || document.querySelector('dialog[open]')) return;
    if (event.key === 'Enter' && !apply.disabled) void applyDraft();
    else if (event.key === 'z' && !isText(event.target)) void link.undo();
    else return;
    event.preventDefault();
  });
  link.news.watch(announce);
  showNotice(link.failure, (error) => {
    const path = error instanceof ControlError ? error.path : undefined;
    if (path === undefined) return [];
    return [h('button', { type: 'button', class: 'quiet', onclick: () => editText(path) }, 'Show it')];
  });

  async function applyDraft(): Promise<void> {
    // A number that is being typed counts.
    if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
    const outcome = await resolved(link, await link.apply());
    if (outcome instanceof Error) link.failure.value = outcome;
  }
}

const isText = (target: EventTarget | null): boolean =>
  target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type !== 'range');

/** Asks what to do when somebody else was faster. */
export async function resolved(
  link: Link,
  outcome: Outcome | undefined,
  spec = link.draft.value?.spec,
): Promise<Outcome | undefined> {
  if (outcome !== 'behind') return outcome;
  const { revision } = link.draft.value!;
  const answer = await ask(
    'Changed elsewhere meanwhile',
    `Revision ${revision} is in force, and your changes were made to an older one. What shall be in force?`,
    { back: 'Go on editing', theirs: `Revision ${revision}: drop my changes`, mine: 'My spec, over it' },
  );
  if (answer === 'theirs') link.discard();
  return answer === 'mine' ? link.apply(spec, true) : undefined;
}
