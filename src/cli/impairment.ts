/** `--impair` of commands that are about something else: what packets pass besides, in words, in braces, or in a file. */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Between } from '../engine/between.ts';
import { TunconnectorError } from '../errors.ts';
import { ANSWERS, impairments } from '../impair/link.ts';
import { parseSpec } from '../impair/spec/file.ts';
import { type CompiledSpec, compileSpec } from '../impair/spec/spec.ts';
import { parseStages } from '../impair/spec/text.ts';
import { Wrong } from './expected.ts';

/** `delay 50ms loss 1%`, `{preset: lte, seed: 7}`, or `@office.yaml`. @throws Wrong */
export function impairment(text: string): CompiledSpec {
  return orWrong(() => {
    if (text.startsWith('@')) return parseSpec(readSpec(text.slice(1)), text.slice(1));
    if (text.trimStart().startsWith('{')) return parseSpec(text, 'spec');
    // For its errors, which name the word: those of a spec show all of the text.
    parseStages(text);
    return compileSpec(text);
  });
}

/** What a configuration file has instead of text: a list of stages, or a spec. @throws Wrong */
export function impairmentOf(value: object): CompiledSpec {
  return orWrong(() => compileSpec(Array.isArray(value) ? { both: value } : value));
}

function readSpec(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Wrong(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

function orWrong(work: () => CompiledSpec): CompiledSpec {
  try {
    return work();
  } catch (error) {
    if (error instanceof TunconnectorError) throw new Wrong(error.message);
    throw error;
  }
}

/** Drawn here where none was given, so that one number is enough to have both directions' draws again. */
export function withSeed({ up, down }: CompiledSpec): CompiledSpec {
  const seed = randomInt(2 ** 32);
  return { up: { ...up, seed: up.seed ?? seed }, down: { ...down, seed: down.seed ?? seed } };
}

/** The apps of it, with a seed. */
export function seededApps(spec: CompiledSpec): Between {
  return { ...impairments(withSeed(spec)), links: ANSWERS };
}

/** The seed of such apps. */
export const seedOf = ({ up }: Between): number | undefined =>
  (up?.options as { seed?: number } | undefined)?.seed;
