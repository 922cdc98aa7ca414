/** Random numbers nobody can guess, in the form that the control protocol wants: session tokens are made of them. */
import type { Runtime } from '../engine/runtime.ts';
import type { RandomStream } from './control/session.ts';

export function secretStream(runtime: Runtime): RandomStream {
  return {
    u32() {
      const [a, b, c, d] = runtime.secret(4);
      return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
    },
    fill(bytes) {
      bytes.set(runtime.secret(bytes.length));
    },
  };
}
