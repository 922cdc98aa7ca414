import { describe, expect, it } from 'vitest';
import { ControlError } from '../../../../src/control/client/error.ts';
import type { ChainDocument } from '../../../../src/control/client/roulette.ts';
import { Drafts, draftOf } from '../../../../src/control/page/chain/drafts.ts';

const chain = (rev: number, ...functions: string[]): ChainDocument => ({
  ...{ spi: 7, rev, ended: false, flows: 0, revisions: [{ revision: rev, functions, symmetric: true }] },
});

/** A Roulette with one chain. */
function desk(there: ChainDocument) {
  const written: unknown[] = [];
  const drafts = new Drafts(async (spi, body) => {
    if (body.functions.includes('bad'))
      throw new ControlError(400, { code: 'ERR_CONFIG', message: 'no bad' });
    if (body.ifRev !== there.rev) throw new ControlError(412, { code: 'ERR_REVISION', message: 'other' });
    written.push({ spi, ...body });
  });
  return { drafts, written };
}

describe('a draft of a chain', () => {
  it('is saved over the revision that it was made from, and is none any more', async () => {
    const { drafts, written } = desk(chain(5, 'fw'));
    const draft = { ...drafts.begin(chain(5, 'fw')), functions: ['fw', 'dpi'], edited: true };
    expect(await drafts.save(draft)).toBe('saved');
    expect(written).toEqual([{ spi: 7, functions: ['fw', 'dpi'], symmetric: true, ifRev: 5 }]);
    expect(drafts.size).toBe(0);
  });

  it('overwrites nothing that it was not made from, and stays', async () => {
    const { drafts, written } = desk(chain(6, 'dpi'));
    const draft = { ...drafts.begin(chain(5, 'fw')), functions: ['fw', 'dpi'], edited: true };
    expect(await drafts.save(draft)).toBe('behind');
    expect(written).toEqual([]);
    expect(drafts.begin(chain(6, 'dpi'))).toEqual(draft);
    expect(await drafts.save({ ...draft, rev: 6 })).toBe('saved');
  });

  it('stays when Roulette does not want it, or cannot be reached', async () => {
    const { drafts } = desk(chain(5, 'fw'));
    const draft = { ...draftOf(chain(5, 'fw')), functions: ['bad'], edited: true };
    expect(await drafts.save(draft)).toMatchObject({ message: 'no bad' });
    expect(drafts.has(7)).toBe(true);
    const away = new Drafts(() => Promise.reject(new TypeError('fetch failed')));
    expect(await away.save(draft)).toBeInstanceOf(TypeError);
    expect(away.get(7)).toBe(draft);
  });

  it('that says what is in force is none; one that somebody overtook is', () => {
    const { drafts } = desk(chain(5, 'fw'));
    const draft = draftOf(chain(5, 'fw'));
    drafts.keep(draft, chain(5, 'fw'));
    drafts.keep({ ...draft, edited: true }, chain(5, 'fw'));
    drafts.keep(draft, chain(6, 'dpi'));
    expect(drafts.size).toBe(0);
    drafts.keep({ ...draft, functions: ['dpi'], edited: true }, chain(5, 'fw'));
    expect(drafts.has(7)).toBe(true);
    drafts.drop(7);
    drafts.keep({ ...draft, edited: true }, chain(6, 'dpi'));
    expect(drafts.has(7)).toBe(true);
  });
});
