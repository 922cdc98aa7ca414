/**
 * Why packets are dropped. A reason is a small integer, so that the hot path counts it by index; its name is what
 * reports, captures and people see. Names are registered once per process and never change their number.
 */

const names: string[] = [];
const numbers = new Map<string, number>();

/** The most reasons one process can register; each app has a counter for every one. */
export const MAX_REASONS = 128;

/**
 * Registers a reason (or finds it) and returns its number.
 * @param name lower case words joined by hyphens, e.g. `odd-length`
 */
export function reason(name: string): number {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  if (names.length === MAX_REASONS) throw new RangeError(`more than ${MAX_REASONS} drop reasons: ${name}`);
  names.push(name);
  numbers.set(name, names.length - 1);
  return names.length - 1;
}

export function reasonName(number: number): string {
  return names[number] ?? `reason-${number}`;
}

/** Reasons of the engine itself. Apps register their own beside their code. */
export const Reason = {
  LinkFull: reason('link-full'),
  Unlinked: reason('unlinked'),
  NoMemory: reason('no-memory'),
  Malformed: reason('malformed'),
  TooLong: reason('too-long'),
  Closed: reason('closed'),
} as const;
