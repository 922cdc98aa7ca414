/** A question that has to be answered before anything else. */
import { byId, h } from './dom.ts';

/**
 * @param answers what each button says and stands for; the last one is what Enter means
 * @returns undefined when the question was closed without an answer
 */
export function ask<T extends string>(
  title: string,
  text: string,
  answers: Readonly<Record<T, string>>,
): Promise<T | undefined> {
  const dialog = byId<HTMLDialogElement>('question');
  const buttons = (Object.entries(answers) as [T, string][]).map(([value, says]) =>
    h('button', { value }, says),
  );
  buttons.at(-1)!.classList.add('primary');
  dialog.replaceChildren(
    h(
      'form',
      { method: 'dialog' },
      h('h2', { id: 'question-title' }, title),
      h('p', {}, text),
      h('div', { class: 'buttons' }, ...buttons),
    ),
  );
  dialog.returnValue = '';
  dialog.showModal();
  buttons.at(-1)!.focus();
  return new Promise((resolve) => {
    const closed = () => resolve(dialog.returnValue in answers ? (dialog.returnValue as T) : undefined);
    dialog.addEventListener('close', closed, { once: true });
  });
}
