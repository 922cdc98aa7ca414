/** What a server answered that is not 2xx. */
import type { ErrorDocument } from '../impair/contract.ts';

export class ControlError extends Error {
  override readonly name = 'ControlError';
  /** Of HTTP. */
  readonly status: number;
  /** `ERR_CONFIG`, `ERR_TOKEN`, ... */
  readonly code: string;
  /** Where in the spec: `rules.3.up.0.time`. */
  readonly path: string | undefined;
  readonly found: string | undefined;
  readonly expected: string | undefined;
  readonly remedy: string | undefined;

  constructor(status: number, { code, message, path, found, expected, remedy }: ErrorDocument['error']) {
    super(message);
    this.status = status;
    this.code = code;
    this.path = path;
    this.found = found;
    this.expected = expected;
    this.remedy = remedy;
  }
}
