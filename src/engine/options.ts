/** Options from people: checked against a schema, and wrong ones named by path, with what was found and expected. */
import type { z } from 'zod';
import { type Place, TunconnectorError } from '../errors.ts';

export function checkOptions<T>(schema: z.ZodType<T>, options: unknown): T {
  const result = schema.safeParse(options ?? {});
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path);
    const found = `the unknown key "${issue.keys[0]}"`;
    const expected = known.length > 0 ? `one of ${known.join(', ')}` : undefined;
    throw misfit(`${path ? `${path}: ` : ''}found ${found}${expected ? `, expected ${expected}` : ''}`, {
      path,
      found,
      ...(expected && { expected }),
    });
  }
  // Text says itself which of its words it is about.
  const said = /^found (.+), expected (.+)$/.exec(issue.message);
  if (said) {
    throw misfit(`${path || 'options'}: ${issue.message}`, { path, found: said[1], expected: said[2] });
  }
  let found: unknown = options;
  // What was written in fewer words than it stands for is shown as it was written.
  for (const key of issue.path) {
    if (typeof found !== 'object' || found === null) break;
    found = (found as Record<PropertyKey, unknown>)[key];
  }
  const shown = JSON.stringify(found);
  const expected = issue.message.toLowerCase();
  throw misfit(`${path || 'options'}: found ${shown}, ${expected}`, {
    path,
    found: shown,
    expected: expected.replace(/^expected /, ''),
  });
}

const misfit = (message: string, place: Place) => new TunconnectorError('ERR_CONFIG', message, { place });

/** The keys that the schema knows at a path, or none when that is no object. */
function keysAt(schema: unknown, path: readonly PropertyKey[]): string[] {
  let at = schema as
    | { shape?: Record<PropertyKey, unknown>; unwrap?: () => unknown; element?: unknown }
    | undefined;
  for (let step = 0; at; ) {
    // Defaults and optional values hide what they wrap.
    if (at.shape === undefined && at.element === undefined && at.unwrap) at = at.unwrap() as typeof at;
    else if (step === path.length) return Object.keys(at.shape ?? {});
    else at = (at.shape?.[path[step++]] ?? at.element) as typeof at;
  }
  return [];
}
