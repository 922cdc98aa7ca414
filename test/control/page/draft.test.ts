import { describe, expect, it } from 'vitest';
import { Draft } from '../../../src/control/page/impair/draft.ts';

const spec = (both: string) => ({ both });
const start = () => new Draft({ revision: 1, seed: 7, spec: spec('a') });
const document = (revision: number, both: string) => ({ revision, seed: 7, spec: spec(both) });

describe('a draft', () => {
  it('is undone edit by edit, and a slider that moves on is one', () => {
    const draft = start();
    draft.edit(spec('b'), 'delay');
    draft.edit(spec('c'), 'delay');
    draft.edit(spec('d'), 'loss');
    draft.edit(spec('e'), 'delay');
    expect(draft.edits).toBe(3);
    draft.undoEdit();
    expect(draft.spec).toEqual(spec('d'));
    draft.undoEdit();
    expect(draft.spec).toEqual(spec('c'));
    draft.undoEdit();
    expect([draft.spec, draft.edits, draft.undoable]).toEqual([spec('a'), 0, false]);
  });

  it('once applied is undone as a whole, revision by revision', () => {
    const draft = start();
    draft.edit(spec('b'), 'delay');
    draft.edit(spec('c'), 'loss');
    draft.accepted(document(2, 'c'));
    draft.edit(spec('d'), 'loss');
    expect(draft.earlier).toBeUndefined();
    draft.accepted(document(3, 'd'));
    expect(draft.earlier).toEqual(spec('c'));
    draft.accepted(document(4, 'c'), 0, true);
    expect(draft.earlier).toEqual(spec('a'));
    draft.accepted(document(5, 'a'), 0, true);
    expect([draft.undoable, draft.revision, draft.applied]).toEqual([false, 5, spec('a')]);
  });

  it('follows what others change, and undo takes that back as well', () => {
    const draft = start();
    expect(draft.changed(document(2, 'theirs'))).toBe(true);
    expect([draft.spec, draft.behind, draft.earlier]).toEqual([spec('theirs'), false, spec('a')]);
    expect(draft.changed(document(2, 'theirs'))).toBe(false);
  });

  it('keeps what is edited while a change is on its way', () => {
    const draft = start();
    draft.edit(spec('b'), 'delay');
    const sent = draft.sent();
    draft.edit(spec('c'), 'delay');
    draft.accepted(document(2, 'b'), sent);
    expect([draft.spec, draft.applied, draft.edits]).toEqual([spec('c'), spec('b'), 1]);
    draft.undoEdit();
    expect([draft.spec, draft.earlier]).toEqual([spec('b'), spec('a')]);
  });

  it('sees another spec of the same revision: the command was started anew', () => {
    const draft = start();
    expect(draft.changed(document(1, 'a'))).toBe(false);
    expect(draft.changed(document(1, 'b'))).toBe(true);
    expect(draft.spec).toEqual(spec('b'));
  });

  it('with edits is kept when others change the spec, and known to be behind', () => {
    const draft = start();
    draft.edit(spec('mine'), 'delay');
    draft.changed(document(2, 'theirs'));
    expect([draft.spec, draft.applied, draft.behind]).toEqual([spec('mine'), spec('theirs'), true]);
    draft.discard();
    expect([draft.spec, draft.behind, draft.edits]).toEqual([spec('theirs'), false, 0]);
  });

  it('remembers a hundred steps of each kind and no more', () => {
    const draft = start();
    for (let n = 0; n < 250; n++) draft.edit(spec(`${n}`), `${n}`);
    expect(draft.edits).toBe(100);
    for (let n = 0; n < 250; n++) draft.accepted(document(n + 2, `${n}`));
    let undone = 0;
    while (draft.earlier) {
      draft.accepted(document(1000 + undone, 'x'), 0, true);
      undone++;
    }
    expect(undone).toBe(100);
  });
});
