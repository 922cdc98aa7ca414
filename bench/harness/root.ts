/** Where the checkout is, seen from the compiled harness in build/bench/harness. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const COMMAND = path.join(ROOT, 'bin', 'tunconnector.js');

/** A program of bench/c, as scripts/bench.mjs has built it. */
export const twin = (name: string) => path.join(ROOT, 'build', 'bench', 'c', name);

/** A program of bench/programs. */
export const program = (name: string) => path.join(ROOT, 'build', 'bench', 'programs', `${name}.js`);
