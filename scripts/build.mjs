/**
 * `npm run build`: compiles src/ to dist/, and puts what the browser gets as it is (markup, styles, pictures) beside the page's
 * modules.
 */
import { copyFile, mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { root, run } from './setup.mjs';

const PAGE = 'control/page';
const AS_IT_IS = /\.(html|css|svg)$/;

const tsc = ['node_modules/typescript/bin/tsc', '-b', '.', `src/${PAGE}`];
const { code } = await run(process.execPath, tsc);
const [from, to] = ['src', 'dist'].map((each) => path.join(root, each, PAGE));
await mkdir(to, { recursive: true });
for (const name of await readdir(from)) {
  if (AS_IT_IS.test(name)) await copyFile(path.join(from, name), path.join(to, name));
}
process.exitCode = code;
