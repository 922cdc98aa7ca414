/**
 * The words of a pipeline's text, `delay 50ms 5ms 25% distribution normal loss 1%`, read from left to right. Each kind of
 * stage reads those behind its name: first values by their place, then pairs of a key and a value in any order. The first
 * word that it does not know is the name of the next stage.
 *
 * What is read stays text; the kind's schema makes numbers of it. Shares need their `%`: tc reads `loss 1` as 1 %, and
 * as a probability it would lose everything.
 */
import { configError } from '../../engine/config.ts';
import { parseProbability, parseRate, parseSize, parseTime } from '../quantities.ts';

/** Reads what stands behind a kind's name; what is returned goes to the kind's schema, without its `kind`. */
export type ReadWords = (words: Words) => Record<string, unknown>;

const KINDS_OF_WORDS = {
  time: {
    expected: 'a time such as 50ms',
    read: (word: string) => (parseTime(word) === undefined ? undefined : word),
  },
  share: {
    expected: 'a share such as 1%',
    read: (word: string) =>
      (word.endsWith('%') || word === '0') && parseProbability(word) !== undefined ? word : undefined,
  },
  rate: {
    expected: 'a rate such as 5mbit',
    read: (word: string) => (parseRate(word) === undefined ? undefined : word),
  },
  size: {
    expected: 'a size such as 1500 or 64kb',
    read: (word: string) => (parseSize(word) === undefined ? undefined : word),
  },
  count: {
    expected: 'a whole number',
    read: (word: string) => (/^\d{1,15}$/.test(word) ? Number(word) : undefined),
  },
  /** Signed, for overheads. */
  integer: {
    expected: 'a whole number',
    read: (word: string) => (/^-?\d{1,15}$/.test(word) ? Number(word) : undefined),
  },
  word: { expected: 'a word', read: (word: string) => word },
} as const;

type WordKind = keyof typeof KINDS_OF_WORDS;

/** What a key's value is; `flag` has none, and a list is of the words that may follow. */
export type KeyKind = WordKind | 'flag' | readonly string[];

export class Words {
  readonly #words: readonly string[];
  #at = 0;
  /** The stage whose words are read, for errors. */
  #stage = '';

  constructor(text: string) {
    this.#words = text.split(/\s+/).filter((word) => word !== '');
  }

  get done(): boolean {
    return this.#at === this.#words.length;
  }

  /** The next word, which stays. */
  get next(): string | undefined {
    return this.#words[this.#at];
  }

  /** Takes the next word, one of `names`: a stage's. @throws ERR_CONFIG */
  stage(names: readonly string[]): string {
    this.#stage = '';
    const word = this.next;
    if (word === undefined || !names.includes(word)) throw this.error(`one of ${names.join(', ')}`);
    this.#at++;
    this.#stage = word;
    return word;
  }

  /** Takes the next word if it is this one. */
  accept(word: string): boolean {
    if (this.next !== word) return false;
    this.#at++;
    return true;
  }

  /** Takes the next word if it is one of these. */
  oneOf<T extends string>(choices: readonly T[]): T | undefined {
    const found = choices.find((choice) => choice === this.next);
    if (found !== undefined) this.#at++;
    return found;
  }

  /** Takes the next word. @throws ERR_CONFIG when it is not of this kind */
  take(kind: 'count' | 'integer'): number;
  take(kind: Exclude<WordKind, 'count' | 'integer'>): string;
  take(kind: WordKind): string | number;
  take(kind: WordKind): string | number {
    const value = this.#value(kind);
    if (value === undefined) throw this.error(KINDS_OF_WORDS[kind].expected);
    return value;
  }

  /** Takes the next word if it is of this kind. */
  maybe(kind: 'count' | 'integer'): number | undefined;
  maybe(kind: Exclude<WordKind, 'count' | 'integer' | 'word'>): string | undefined;
  maybe(kind: WordKind): string | number | undefined {
    return this.#value(kind);
  }

  /**
   * Takes pairs of a key and its value as long as there are some. Every stage knows `name`.
   * @throws ERR_CONFIG for a key without its value, and for one that stands twice
   */
  keys(kinds: Readonly<Record<string, KeyKind>>): Record<string, string | number | true> {
    const all: Readonly<Record<string, KeyKind>> = { name: 'word', ...kinds };
    const found: Record<string, string | number | true> = {};
    for (let key = this.next; key !== undefined && Object.hasOwn(all, key); key = this.next) {
      if (Object.hasOwn(found, key)) throw this.error(`"${key}" only once`);
      this.#at++;
      const kind = all[key];
      if (kind === 'flag') found[key] = true;
      else if (typeof kind === 'string') found[key] = this.take(kind);
      else found[key] = this.oneOf(kind) ?? this.#refuse(`one of ${kind.join(', ')}`);
    }
    return found;
  }

  /** What to throw when something else was expected here. */
  error(expected: string): Error {
    const before = this.#words.slice(Math.max(0, this.#at - 2), this.#at).join(' ');
    const place = before === '' ? '' : ` behind "${before}"`;
    const found = this.next === undefined ? 'the end' : `"${this.next}"`;
    return configError(`${this.#stage}${this.#stage && ': '}found ${found}${place}, expected ${expected}`);
  }

  #value(kind: WordKind): string | number | undefined {
    const value = this.next === undefined ? undefined : KINDS_OF_WORDS[kind].read(this.next);
    if (value !== undefined) this.#at++;
    return value;
  }

  #refuse(expected: string): never {
    throw this.error(expected);
  }
}

/** The same without what was left out. */
export function given(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
