/** Asks for the token that Roulette wants. It is kept for this tab, until that is closed. */
import { byId, h, setText } from '../shared/dom.ts';

const KEY = 'tunconnector-token';

export const keptToken = (): string | undefined => sessionStorage.getItem(KEY) ?? undefined;
export const keepToken = (token: string): void => sessionStorage.setItem(KEY, token);
export const forgetToken = (): void => sessionStorage.removeItem(KEY);

/** @param problem with the one before @returns what was entered */
export function askToken(problem: string): Promise<string> {
  const dialog = byId<HTMLDialogElement>('token-dialog');
  const input = h('input', {
    ...{ id: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true },
    ...{ minlength: 16, maxlength: 512, 'aria-describedby': 'token-help' },
  });
  const form = h(
    'form',
    { method: 'dialog' },
    h('h2', { id: 'token-dialog-title' }, 'This Roulette wants a token'),
    h('div', { class: 'field' }, h('label', { for: 'token' }, 'Token'), input),
    h('small', { id: 'token-help', class: 'hint' }, 'Kept for this tab until it is closed.'),
    h('p', { class: 'problem', role: 'alert' }, problem),
    h('div', { class: 'buttons' }, h('button', { class: 'primary' }, 'Go on')),
  );
  dialog.replaceChildren(form);
  // There is nothing to be seen without one.
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const entered = () => {
      const token = input.value.trim();
      // Whatever closed it.
      if (token === '') setText(form.querySelector('.problem')!, 'There is no token.');
      resolve(token);
    };
    dialog.addEventListener('close', entered, { once: true });
  });
}
