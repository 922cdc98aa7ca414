/** What there is to choose from: presets, and kinds of stages with their keys. */
import { PRESETS } from '../../impair/spec/presets.ts';
import { stageSchema } from '../../impair/stages.ts';
import { jsonSchema } from '../http/schema.ts';
import type { KindList, PresetList } from './contract.ts';

export const presets: PresetList = {
  presets: Object.entries(PRESETS).map(([name, preset]) => ({ name, ...preset })),
};

interface ObjectSchema extends Record<string, unknown> {
  properties: Record<string, { const?: string }>;
}

export const kinds: KindList = {
  kinds: stageSchema.options.map((option) => {
    const schema = jsonSchema(option, 'input');
    // Of one whose schema is several, each says its kind.
    const one =
      ((schema.oneOf ?? schema.anyOf) as ObjectSchema[] | undefined)?.[0] ?? (schema as ObjectSchema);
    return { kind: one.properties.kind.const!, schema };
  }),
};
