/** An impairment in a file of a simulation: what is wrong with it is said with its place there. */

import { TunconnectorError } from '../../errors.ts';
import { compileSpec, type ImpairSpec } from '../../impair/spec/spec.ts';

/** @param place such as `links.near.impair` @throws ERR_CONFIG, ERR_LIMIT */
export function checkImpairment(place: string, spec: ImpairSpec): void {
  try {
    compileSpec(spec);
  } catch (error) {
    if (!(error instanceof TunconnectorError)) throw error;
    // Text stands for both ways.
    const message = typeof spec === 'string' ? error.message.replace(/^both: /, '') : error.message;
    throw new TunconnectorError(error.code, `${place}: ${message}`, { cause: error });
  }
}
