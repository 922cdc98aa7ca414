/**
 * `npm run build`: compiles src/ to dist/, and puts what browsers get as it is (markup, styles, pictures) beside the pages'
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
for (const name of await readdir(from, { recursive: true })) {
  if (!AS_IT_IS.test(name)) continue;
  await mkdir(path.dirname(path.join(to, name)), { recursive: true });
  await copyFile(path.join(from, name), path.join(to, name));
}
process.exitCode = code;
