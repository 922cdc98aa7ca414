/** Options from people: checked against a schema, and wrong ones named by path, with what was found and expected. */
import type { z } from 'zod';
import { configError } from './config.ts';

export function checkOptions<T>(schema: z.ZodType<T>, options: unknown): T {
  const result = schema.safeParse(options ?? {});
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = 'shape' in schema ? Object.keys((schema as { shape: object }).shape) : [];
    const where = path ? `${path}: ` : '';
    throw configError(
      `${where}found the unknown key "${issue.keys[0]}"${known.length > 0 ? `, expected one of ${known.join(', ')}` : ''}`,
    );
  }
  let found: unknown = options;
  for (const key of issue.path) found = (found as Record<PropertyKey, unknown> | undefined)?.[key];
  throw configError(`${path || 'options'}: found ${JSON.stringify(found)}, ${issue.message.toLowerCase()}`);
}
