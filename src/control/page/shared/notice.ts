/** What went wrong, in one line below the head, until somebody has read it. */
import { ControlError } from '../../client/error.ts';
import { byId, h } from './dom.ts';
import type { Topic } from './topic.ts';

/** One line, with what helps. */
export const errorText = (error: Error): string =>
  error instanceof ControlError && error.remedy ? `${error.message}; ${error.remedy}` : error.message;

/** @param more what else can be done about it, as buttons */
export function showNotice(
  failure: Topic<Error | undefined>,
  more: (error: Error) => HTMLElement[] = () => [],
): void {
  failure.watch((error) => {
    const notice = byId('notice');
    notice.hidden = error === undefined;
    notice.replaceChildren();
    if (!error) return;
    const close = () => (failure.value = undefined);
    const button = h('button', { type: 'button', class: 'quiet', onclick: close }, 'Close');
    notice.append(h('span', {}, errorText(error)), ...more(error), button);
  });
}
