import { describe, expect, it } from 'vitest';
import type { Flow, FlowList, FlowQuery } from '../../../src/control/impair/contract.ts';
import { FlowPages, PAGE } from '../../../src/control/page/impair/flow-pages.ts';

/** A server of 10 000 flows that notes what it is asked. */
function served() {
  const asked: FlowQuery[] = [];
  const answers: (() => void)[] = [];
  const ask = (query: FlowQuery) => {
    asked.push(query);
    const { offset = 0, top = 20 } = query;
    const flows = Array.from(
      { length: top as number },
      (_, i) => ({ localPort: (offset as number) + i }) as Flow,
    );
    return new Promise<FlowList>((resolve) => {
      answers.push(() => resolve({ at: 5, total: 10_000, flows }));
    });
  };
  const answer = async () => {
    for (const each of answers.splice(0)) each();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { ask, asked, answer };
}

describe('pages of flows', () => {
  it('are asked for when they come into sight, once', async () => {
    const { ask, asked, answer } = served();
    let changes = 0;
    const pages = new FlowPages(ask, () => changes++);
    pages.show('bytes', '');
    await answer();
    expect([pages.total, pages.at, pages.get(7)?.localPort]).toEqual([10_000, 5, 7]);
    expect(pages.get(5050)).toBeUndefined();
    expect(pages.get(5051)).toBeUndefined();
    await answer();
    expect(pages.get(5050)?.localPort).toBe(5050);
    expect(asked.map(({ offset }) => offset)).toEqual([0, 5000]);
    expect(changes).toBe(2);
  });

  it('keep no answer to an earlier question', async () => {
    const { ask, answer, asked } = served();
    const pages = new FlowPages(ask, () => {});
    pages.show('rate', '');
    pages.show('rate', 'udp');
    await answer();
    expect(asked.at(-1)).toEqual({ top: PAGE, offset: 0, sort: 'rate', search: 'udp' });
    expect(pages.get(0)?.localPort).toBe(0);
    expect(asked).toHaveLength(2);
  });

  it('are few, however far one scrolls, and asked for anew only in sight', async () => {
    const { ask, answer, asked } = served();
    const pages = new FlowPages(ask, () => {});
    for (let index = 0; index < 10_000; index += PAGE) {
      pages.get(index);
      await answer();
    }
    asked.length = 0;
    pages.refresh(9950, 9990);
    await answer();
    expect(asked.map(({ offset }) => offset)).toEqual([9900]);
    pages.get(9700);
    expect(asked).toHaveLength(2);
  });

  it('are asked for again after a question that failed', async () => {
    let fails = true;
    const { ask, answer } = served();
    const pages = new FlowPages(
      (query) => (fails ? Promise.reject(new Error('gone')) : ask(query)),
      () => {},
    );
    pages.show('rate', '');
    await new Promise((resolve) => setImmediate(resolve));
    fails = false;
    pages.refresh(0, 10);
    await answer();
    expect(pages.total).toBe(10_000);
  });
});
