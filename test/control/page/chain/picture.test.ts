import { describe, expect, it } from 'vitest';
import type { ChainDocument, ReplicaDocument } from '../../../../src/control/client/roulette.ts';
import { drawn, GONE_SHOWN, isEmpty, Seen } from '../../../../src/control/page/chain/picture.ts';
import { perSecond, rateText, unknownText } from '../../../../src/control/page/chain/rate-text.ts';

const replica = (id: number, of: string, more: Partial<ReplicaDocument> = {}): ReplicaDocument => ({
  ...{ id, rev: 1, function: of, address: '10.0.0.1', port: 4790, weight: 1, state: 'ready' },
  ...{ lease: '1', flows: 3, ...more },
});
const revision = (revision: number, ...functions: string[]) => ({ revision, functions, symmetric: true });
const chain = (spi: number, ...revisions: ReturnType<typeof revision>[]): ChainDocument => ({
  ...{ spi, rev: 5, ended: false, flows: 0, revisions },
});

describe('the picture of a chain', () => {
  it('has the functions in force in their order, between the ends, each with its replicas', () => {
    const seen = new Seen();
    seen.update([replica(4, 'fw'), replica(3, 'dpi'), replica(2, 'fw'), replica(9, 'egress')], 0);
    const [{ steps, rates }] = drawn(
      [chain(7, revision(1, 'dpi'), revision(2, 'fw', 'dpi'))],
      seen.all,
      undefined,
    );
    expect(steps.map(({ name, replicas }) => [name, replicas.map(({ id }) => id)])).toEqual([
      ['ingress', []],
      ['fw', [2, 4]],
      ['dpi', [3]],
      ['egress', [9]],
    ]);
    expect(steps.map(isEmpty)).toEqual([true, false, false, false]);
    expect(rates).toBeUndefined();
  });

  it('says of a replica that it is suspected, and that it drains', () => {
    const seen = new Seen();
    seen.update(
      [replica(1, 'fw', { state: 'draining', suspected: 'silent' }), replica(2, 'fw', { state: 'draining' })],
      0,
    );
    expect(seen.all).toMatchObject([
      { id: 1, state: 'suspect', service: 'draining' },
      { id: 2, state: 'draining', service: 'draining' },
    ]);
    const [{ steps }] = drawn([chain(7, revision(1, 'fw'))], seen.all, undefined);
    expect(isEmpty(steps[1]!)).toBe(true);
  });

  it('says of a replica that it is stale, unless it is suspected besides', () => {
    const seen = new Seen();
    seen.update(
      [replica(1, 'fw', { stale: true }), replica(2, 'fw', { stale: true, suspected: 'silent' })],
      0,
    );
    expect(seen.all).toMatchObject([
      { id: 1, state: 'stale', service: 'ready' },
      { id: 2, state: 'suspect', service: 'ready' },
    ]);
    const [{ steps }] = drawn([chain(7, revision(1, 'fw'))], seen.all, undefined);
    expect(isEmpty(steps[1]!)).toBe(false);
  });

  it('shows for a while who is gone, and not that who came back was', () => {
    const seen = new Seen();
    seen.update([replica(1, 'fw'), replica(2, 'fw')], 0);
    seen.update([replica(2, 'fw')], 1000);
    seen.update([replica(2, 'fw')], 2000);
    expect(seen.all).toMatchObject([
      { id: 1, state: 'gone', flows: 0 },
      { id: 2, state: 'ready' },
    ]);
    seen.update([replica(1, 'fw'), replica(2, 'fw')], 3000);
    expect(seen.get(1)?.state).toBe('ready');
    seen.update([replica(2, 'fw')], 4000);
    seen.update([replica(2, 'fw')], 4000 + GONE_SHOWN - 1);
    expect(seen.get(1)?.state).toBe('gone');
    seen.update([replica(2, 'fw')], 4000 + GONE_SHOWN);
    expect(seen.all.map(({ id }) => id)).toEqual([2]);
    seen.update([], 99_999);
    expect(seen.all).toMatchObject([{ id: 2, state: 'gone' }]);
  });
});

describe('rates', () => {
  it('that are not known are no zeros', () => {
    expect([rateText(undefined), rateText(0), perSecond(undefined), perSecond(0)]).toEqual([
      '–',
      '0 bit/s',
      '–',
      '0',
    ]);
    expect([perSecond(0.25), perSecond(12.4), perSecond(250_001)]).toEqual(['0.3', '12', '250 001']);
  });

  it('are said to be unknown for replicas that are shown', () => {
    const rates = { replicas: [], chains: [], silent: [4, 5] };
    expect(unknownText(undefined, new Set([4]))).toBe('');
    expect(unknownText(rates, new Set([6]))).toBe('');
    expect(unknownText(rates, new Set([4, 6]))).toMatch(/rates of replica 4 /);
    expect(unknownText(rates, new Set([4, 5]))).toMatch(/rates of 2 replicas/);
  });
});
