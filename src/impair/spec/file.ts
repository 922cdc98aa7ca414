/** Specs as files: YAML, of which JSON is a part. */
import { readYaml } from '../../engine/config-text.ts';
import { type CompiledSpec, compileSpec } from './spec.ts';

/** @param file named in errors @throws ERR_CONFIG with file, place, what was found and what was expected */
export const parseSpec = (text: string, file = 'spec'): CompiledSpec => readYaml(text, file, compileSpec);
