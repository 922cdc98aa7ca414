import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseSpec } from '../../src/impair/spec/file.ts';
import { PRESET_NAMES } from '../../src/impair/spec/presets.ts';
import { parseStages } from '../../src/impair/spec/text.ts';
import { STAGE_WORDS, stageSchema } from '../../src/impair/stages.ts';
import { filesUnder, read } from '../house/sources.ts';

const page = (kind: string) => `docs/impair/${kind === 'replay' ? 'log' : kind}.md`;

/** The keys of a stage's options, of all its variants, from the schema as JSON. */
function keysOf(kind: string): string[] {
  const found = new Set<string>();
  const walk = (schema: z.core.JSONSchema.BaseSchema) => {
    for (const each of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])])
      walk(each as z.core.JSONSchema.BaseSchema);
    const { properties } = schema;
    const of = properties?.kind as { const?: unknown } | undefined;
    if (properties && of?.const === kind) for (const key of Object.keys(properties)) found.add(key);
  };
  walk(z.toJSONSchema(stageSchema, { io: 'input', unrepresentable: 'any' }));
  found.delete('kind');
  found.delete('name');
  return [...found].sort();
}

/** The keys in the first column of the tables of keys on a page. */
function tabled(text: string): string[] {
  const tables = [...text.matchAll(/^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)/gm)].map((found) => found[1]);
  const [first] = tables;
  const cells = [...first.matchAll(/^\| (.*?) \|/gm)].map((found) => found[1]);
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((found) => found[1])).sort();
}

describe('the page', () => {
  it.each([...Object.keys(STAGE_WORDS), 'trace', 'replay'])(
    'of %s has each of its keys and no other',
    (kind) => {
      expect(keysOf(kind).length).toBeGreaterThan(0);
      const text = read(page(kind));
      // The page about logs has another table before that of the stage.
      for (const part of ['Accuracy', 'Cost']) expect(text).toContain(`\n## ${part}\n`);
      expect(tabled(text.slice(Math.max(0, text.indexOf(`## ${kind}\n`))))).toEqual(keysOf(kind));
    },
  );

  const texts = filesUnder('docs/impair', '.md').flatMap((file) => {
    const kinds = Object.keys(STAGE_WORDS).join('|');
    const example = new RegExp(`(?<=^|[^\`])\`((?:${kinds}) [^\`]*)\`(?!\`)`, 'gm');
    return [...read(file).matchAll(example)].map((found) => [file, found[1]] as const);
  });

  it('has examples that are a pipeline', () => {
    const pipelines = texts.filter(([, text]) => /[\d.]/.test(text) && !/[A-Z[{]/.test(text));
    expect(pipelines.length).toBeGreaterThan(15);
    for (const [file, text] of pipelines) {
      expect(() => stageSchema.array().parse(parseStages(text)), `${file}: ${text}`).not.toThrow();
    }
  });

  it('about all of them has specs that are specs, and every preset', () => {
    const all = read('docs/impair/README.md');
    const specs = [...all.matchAll(/```(?:yaml|json)\n(.*?)```/gs)].map((found) => found[1]);
    expect(specs).toHaveLength(2);
    for (const spec of specs) expect(() => parseSpec(spec)).not.toThrow();
    const presets = all.slice(all.indexOf('## Presets'));
    const named = [...presets.matchAll(/^\| `([\w-]+)` \| \d|^\| `(wifi[\w-]*)`/gm)].map(
      (found) => found[1] ?? found[2],
    );
    expect(named.sort()).toEqual([...PRESET_NAMES].sort());
  });

  it('of delay has a stage that is one', () => {
    const [spec] = [...read('docs/impair/delay.md').matchAll(/```yaml\n(.*?)```/gs)].map((found) => found[1]);
    expect(() => parseSpec(`both:\n${spec.replace(/^/gm, '  ')}`)).not.toThrow();
  });
});
