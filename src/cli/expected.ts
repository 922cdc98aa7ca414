/** What an option's value is not, thrown by what reads it. Who knows the option's name puts it in front. */
import { TunconnectorError } from '../errors.ts';

/** What an option wanted instead of what it found. */
export class Expected extends Error {}

/** What is wrong inside of a value that is too long to be shown. */
export class Wrong extends Error {}

/**
 * Reads a value. @param label what the message calls the option: `-i/--inport`, or a path in a file
 * @throws ERR_USAGE
 */
export function reading<T>(label: string, found: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const details = { cause: error };
    if (error instanceof Expected) {
      const message = `${label}: found "${found}", expected ${error.message}`;
      throw new TunconnectorError('ERR_USAGE', message, details);
    }
    if (error instanceof Wrong)
      throw new TunconnectorError('ERR_USAGE', `${label}: ${error.message}`, details);
    throw error;
  }
}

/** What was found, for a message. */
export const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};
