/** Options that hold a file's text; who reads the file is above this floor. */
import { z } from 'zod';

/** Text that `parse` can read; its error is what is said of one that it cannot. */
export const fileText = (parse: (text: string) => unknown) =>
  z.string().superRefine((value, context) => {
    try {
      parse(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    }
  });
