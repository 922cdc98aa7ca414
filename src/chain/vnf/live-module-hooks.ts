/**
 * How modules of functions are found and read, in the threads that run them. `tunconnector` is this package, wherever the file lies.
 * TypeScript is read by Node itself where Node can; otherwise its types are taken out by the `typescript` that the file finds.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

interface Resolved {
  url: string;
  format?: string;
  shortCircuit?: boolean;
}

interface Loaded {
  format: string;
  source: string;
  shortCircuit?: boolean;
}

/** A module of this package: what it is asked by resolves it, also from outside. */
const HERE = import.meta.url;

export async function resolve(
  name: string,
  context: { parentURL?: string },
  next: (name: string, context: object) => Promise<Resolved>,
): Promise<Resolved> {
  const own = name === 'tunconnector' || name.startsWith('tunconnector/');
  return next(name, own ? { ...context, parentURL: HERE } : context);
}

export async function load(
  url: string,
  context: object,
  next: (url: string, context: object) => Promise<Loaded>,
): Promise<Loaded> {
  if (!/^file:.*\.[cm]?ts$/.test(url) || (process.features as { typescript?: unknown }).typescript)
    return next(url, context);
  const file = fileURLToPath(url);
  let typescript: typeof import('typescript');
  try {
    typescript = createRequire(file)('typescript');
  } catch {
    throw new Error(
      `Node ${process.versions.node} runs no TypeScript, and there is no package "typescript" beside ${file}`,
    );
  }
  const { ModuleKind, ScriptTarget } = typescript;
  const compilerOptions = {
    module: ModuleKind.ESNext,
    target: ScriptTarget.ES2022,
    verbatimModuleSyntax: true,
    inlineSourceMap: true,
  };
  const { outputText } = typescript.transpileModule(await readFile(file, 'utf8'), {
    compilerOptions,
    fileName: file,
  });
  return { format: 'module', source: outputText, shortCircuit: true };
}
