/**
 * Loads the native addon on first use, never on import, so that the library imports cleanly where there is none.
 *
 * `TUNCONNECTOR_NATIVE=0` makes it behave as absent (tests of that case); `TUNCONNECTOR_NATIVE=/path/to/file.node` loads
 * that file (the build with sanitizers).
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { TunconnectorError } from '../errors.ts';
import type { Native } from './binding.ts';

let loaded: Native | undefined;

/** Throws ERR_PLATFORM off Linux, and ERR_NATIVE when there is no build that loads. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  if (process.platform !== 'linux') {
    throw new TunconnectorError('ERR_PLATFORM', `devices need Linux, and this is ${process.platform}`, {
      remedy: 'run this on Linux, in a virtual machine or a container',
    });
  }
  const wanted = process.env.TUNCONNECTOR_NATIVE ?? '';
  if (wanted === '0') throw missing(new Error('TUNCONNECTOR_NATIVE=0 is set'));
  const require = createRequire(import.meta.url);
  // Both src/native and dist/native lie two folders below the package.
  const root = fileURLToPath(new URL('../..', import.meta.url));
  try {
    if (wanted !== '') return require(wanted) as Native;
    const find = require('node-gyp-build') as (root: string) => Native;
    return find(root);
  } catch (cause) {
    throw missing(cause);
  }
}

function missing(cause: unknown): TunconnectorError {
  const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
  return new TunconnectorError('ERR_NATIVE', `the native addon does not load: ${why}`, {
    remedy: 'build it with `npm run build:native` (needs python3, make and g++)',
    cause,
  });
}
