/** Timers of the page. */

/** Calls `action` again and again. @param wait ms */
export function every(wait: number, action: () => void): void {
  setInterval(action, wait);
}

/** A function that calls `action` once when it has not been called for a while. @param wait ms */
export function later(wait: number, action: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  };
}

/** ms since the page was opened. */
export const milliseconds = (): number => performance.now();
