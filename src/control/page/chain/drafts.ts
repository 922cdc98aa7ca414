/** Edits of chains that are not saved: kept until they are, or are thrown away, whatever happens to chain and connection. */
import { type ChainDocument, ControlError } from '../../client/roulette.ts';
import { inForce } from './picture.ts';

export interface Draft {
  spi: number;
  functions: string[];
  symmetric: boolean;
  /** The revision of the value that it was made from; 0 for a chain that is to be new. */
  rev: number;
  /** Somebody changed something: it is worth keeping. */
  edited: boolean;
}

/** What became of a draft: `behind`, somebody else changed the chain; nothing was written. */
export type Outcome = 'saved' | 'behind' | Error;

export type PutChain = (
  spi: number,
  body: { functions: readonly string[]; symmetric: boolean; ifRev: number },
) => Promise<unknown>;

export class Drafts {
  readonly #drafts = new Map<number, Draft>();
  readonly #put: PutChain;

  constructor(put: PutChain) {
    this.#put = put;
  }

  get(spi: number): Draft | undefined {
    return this.#drafts.get(spi);
  }

  has(spi: number): boolean {
    return this.#drafts.has(spi);
  }

  /** The one that is kept, or one that says what is in force. */
  begin(chain: ChainDocument): Draft {
    return this.#drafts.get(chain.spi) ?? draftOf(chain);
  }

  /** One that says what it was made from is none. */
  keep(draft: Draft, chain: ChainDocument | undefined): void {
    const isNone = !draft.edited || (chain && draft.rev === chain.rev && isSame(draft, draftOf(chain)));
    if (isNone) this.#drafts.delete(draft.spi);
    else this.#drafts.set(draft.spi, draft);
  }

  drop(spi: number): void {
    this.#drafts.delete(spi);
  }

  get size(): number {
    return this.#drafts.size;
  }

  async save(draft: Draft): Promise<Outcome> {
    const { spi, functions, symmetric, rev } = draft;
    this.#drafts.set(spi, draft);
    try {
      await this.#put(spi, { functions, symmetric, ifRev: rev });
    } catch (error) {
      if (error instanceof ControlError && error.status === 412) return 'behind';
      return error instanceof Error ? error : new Error(String(error));
    }
    // Unless it went on meanwhile.
    if (this.#drafts.get(spi) === draft) this.#drafts.delete(spi);
    return 'saved';
  }
}

export const draftOf = (chain: ChainDocument): Draft => {
  const { functions, symmetric } = inForce(chain);
  return { spi: chain.spi, functions: [...functions], symmetric, rev: chain.rev, edited: false };
};

const isSame = (a: Draft, b: Draft): boolean =>
  a.symmetric === b.symmetric && a.functions.join(' ') === b.functions.join(' ');

/** `fw > dpi, both ways`. */
export const sayChain = ({ functions, symmetric }: Pick<Draft, 'functions' | 'symmetric'>): string =>
  `${functions.join(' > ')}, ${symmetric ? 'both ways' : 'one way'}`;
