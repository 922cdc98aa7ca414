/** Specs as files: YAML, of which JSON is a part. */
import { readYaml } from '../../engine/config-text.ts';
import { type CompiledSpec, compileSpec, type WrittenSpec, writtenSpec } from './spec.ts';

/** @param file named in errors @throws ERR_CONFIG with file, place, what was found and what was expected */
export const parseSpec = (text: string, file = 'spec'): CompiledSpec => readYaml(text, file, compileSpec);

/** The same as it was written, after the same checks. */
export const parseWritten = (text: string, file = 'spec'): WrittenSpec =>
  readYaml(text, file, (value) => {
    compileSpec(value);
    return writtenSpec(value);
  });
