/** Specs as files: YAML, of which JSON is a part. */
import { LineCounter, parseDocument } from 'yaml';
import { configError } from '../../engine/config.ts';
import { TunconnectorError } from '../../errors.ts';
import { type CompiledSpec, compileSpec } from './spec.ts';

/** @param file named in errors @throws ERR_CONFIG with file, place, what was found and what was expected */
export function parseSpec(text: string, file = 'spec'): CompiledSpec {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [problem] = document.errors;
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw configError(`${file}:${line}:${col}: ${problem.message.split('\n')[0]}`);
  }
  try {
    return compileSpec(document.toJS());
  } catch (error) {
    if (error instanceof TunconnectorError) throw configError(`${file}: ${error.message}`);
    throw error;
  }
}
