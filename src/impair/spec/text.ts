/** A pipeline as text: stages one after the other, `delay 50ms 5ms loss 1%`. `pass` is the pipeline without any. */
import { STAGE_WORDS } from '../stages.ts';
import { given, Words } from './words.ts';

const NAMES = Object.keys(STAGE_WORDS) as (keyof typeof STAGE_WORDS)[];

/** The stages as their schemas take them. @throws ERR_CONFIG with the word that was found and what was expected */
export function parseStages(text: string): Record<string, unknown>[] {
  const words = new Words(text);
  if (words.accept('pass')) {
    if (!words.done) throw words.error('nothing');
    return [];
  }
  const stages: Record<string, unknown>[] = [];
  do {
    const kind = words.stage(NAMES) as keyof typeof STAGE_WORDS;
    stages.push({ kind, ...given(STAGE_WORDS[kind](words)) });
  } while (!words.done);
  return stages;
}
