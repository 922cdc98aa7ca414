import { describe, expect, it } from 'vitest';
import {
  ControlError,
  type ImpairClient,
  type Spec,
  type SpecDocument,
} from '../../../src/control/client/index.ts';
import { Link } from '../../../src/control/page/impair/link.ts';

/** A server of one spec. */
class Served {
  document: SpecDocument = { revision: 1, seed: 7, spec: { both: 'delay 1ms' } };
  puts = 0;

  change(spec: Spec): SpecDocument {
    this.document = { ...this.document, revision: this.document.revision + 1, spec };
    return this.document;
  }

  readonly client = {
    spec: async () => this.document,
    putSpec: async (spec: Spec, { revision }: { revision?: number } = {}) => {
      this.puts++;
      if (spec.both === 'bad')
        throw new ControlError(400, { code: 'ERR_CONFIG', message: 'both: found "bad"', path: 'both' });
      if (revision !== undefined && revision !== this.document.revision)
        throw new ControlError(412, { code: 'ERR_REVISION', message: 'there is a newer one' });
      return this.change(spec);
    },
  } as unknown as ImpairClient;
}

const hello = (revision: number) => ({
  ...{ type: 'hello' as const, version: 1 as const, revision, left: 'a', right: 'b' },
  ...{ seed: 7, at: 0, time: '2026-01-01T00:00:00.000Z', interval: 500 },
});
const soon = () => new Promise((resolve) => setImmediate(resolve));

async function linked() {
  const served = new Served();
  const link = new Link(served.client);
  link.receive(hello(1));
  await soon();
  return { served, link, spec: () => link.draft.value!.spec };
}

describe('the link of a page', () => {
  it('has the spec as soon as it hears of the link, and anew when the command was started anew', async () => {
    const { served, link, spec } = await linked();
    expect(spec()).toEqual({ both: 'delay 1ms' });
    served.document = { revision: 1, seed: 7, spec: { both: 'delay 9ms' } };
    link.receive(hello(1));
    await soon();
    expect(spec()).toEqual({ both: 'delay 9ms' });
  });

  it('applies what is edited, and takes it back at the server', async () => {
    const { served, link } = await linked();
    link.editSides(() => ({ both: 'delay 2ms' }), 'delay');
    expect(served.puts).toBe(0);
    expect(await link.apply()).toBe('applied');
    expect(served.document.spec).toEqual({ both: 'delay 2ms' });
    await link.undo();
    expect(served.document).toMatchObject({ revision: 3, spec: { both: 'delay 1ms' } });
    expect(link.draft.value).toMatchObject({ undoable: false, revision: 3 });
  });

  it('overwrites nobody who was faster, unless it is told to', async () => {
    const { served, link } = await linked();
    link.editSides(() => ({ both: 'delay 2ms' }), 'delay');
    served.change({ both: 'delay 5ms' });
    expect(await link.apply()).toBe('behind');
    expect(served.document.spec).toEqual({ both: 'delay 5ms' });
    expect(await link.apply()).toBe('behind');
    expect(await link.apply(link.draft.value?.spec, true)).toBe('applied');
    expect(served.document.spec).toEqual({ both: 'delay 2ms' });
  });

  it('keeps the edits when the server refuses them', async () => {
    const { link, spec } = await linked();
    link.editSides(() => ({ both: 'bad' }), 'delay');
    expect(await link.apply()).toMatchObject({ status: 400, path: 'both' });
    expect([spec(), link.draft.value?.edits]).toEqual([{ both: 'bad' }, 1]);
  });

  it('looks at the default again when the rule it looked at is gone', async () => {
    const { served, link } = await linked();
    const { revision } = served.change({ rules: [{ label: 'dns', match: '*', both: 'pass' }] });
    link.receive({ type: 'spec', revision });
    await soon();
    link.selected.value = 'dns';
    link.receive({ type: 'spec', revision: served.change({}).revision });
    await soon();
    expect(link.selected.value).toBe('default');
  });
});
