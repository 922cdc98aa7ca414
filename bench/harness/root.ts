/** Where the checkout is, seen from the compiled harness in build/bench/harness. */
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const COMMAND = path.join(ROOT, 'bin', 'tunconnector.js');

/** A program of bench/c, as scripts/bench.mjs has built it. */
export const twin = (name: string) => path.join(ROOT, 'build', 'bench', 'c', name);

/** A program of bench/programs. */
export const program = (name: string) => path.join(ROOT, 'build', 'bench', 'programs', `${name}.js`);

/** A module of the product that no entry exports: to be imported at run time, with the type of the one in `dist`. */
export const dist = (file: string) => pathToFileURL(path.join(ROOT, 'dist', file)).href;
