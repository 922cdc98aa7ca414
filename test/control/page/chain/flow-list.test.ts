import { describe, expect, it } from 'vitest';
import type { FlowDocument, FlowQuery } from '../../../../src/control/client/roulette.ts';
import { Flows, MOST, PAGE } from '../../../../src/control/page/chain/flow-list.ts';

const idOf = (n: number) => n.toString(16).padStart(16, '0');

/** A Roulette with so many flows. */
function world(total: number) {
  const asked: FlowQuery[] = [];
  const state = { total, fails: false, changes: 0 };
  const ask = async (query: FlowQuery) => {
    asked.push(query);
    if (state.fails) throw new TypeError('fetch failed');
    const from = query.after === undefined ? 0 : Number.parseInt(String(query.after), 16) + 1;
    const end = Math.min(state.total, from + Number(query.limit));
    const flows = Array.from({ length: end - from }, (_, i) => ({ id: idOf(from + i) }) as FlowDocument);
    return { rev: 1, total: state.total, flows, ...(end < state.total && { next: flows.at(-1)!.id }) };
  };
  const flows = new Flows(ask, () => state.changes++);
  const settled = () => new Promise((resolve) => setTimeout(resolve, 5));
  return { asked, state, flows, settled };
}

describe('the list of flows', () => {
  it('asks for one page, and for more as far as somebody scrolls', async () => {
    const { asked, flows, settled } = world(3 * PAGE);
    flows.show({ search: 'udp' });
    await settled();
    expect(asked).toEqual([{ search: 'udp', limit: PAGE }]);
    expect([flows.count, flows.get(0)?.id, flows.get(PAGE)]).toEqual([3 * PAGE, idOf(0), undefined]);
    flows.reach(PAGE - 1);
    flows.reach(PAGE + 10);
    flows.reach(PAGE + 11);
    await settled();
    expect(asked.slice(1)).toEqual([{ search: 'udp', limit: PAGE, after: idOf(PAGE - 1) }]);
    expect(flows.get(PAGE)?.id).toBe(idOf(PAGE));
    flows.reach(3 * PAGE);
    await settled();
    flows.reach(3 * PAGE);
    await settled();
    expect(asked).toHaveLength(3);
    expect(flows.get(3 * PAGE - 1)?.id).toBe(idOf(3 * PAGE - 1));
  });

  it('is no longer than somebody reads', async () => {
    const { flows, settled, asked } = world(5 * MOST);
    flows.show({});
    await settled();
    flows.reach(MOST);
    await settled();
    expect([flows.total, flows.count, asked.length]).toEqual([5 * MOST, MOST, MOST / PAGE]);
    flows.reach(MOST + 1);
    await settled();
    expect(asked).toHaveLength(MOST / PAGE);
  });

  it('looks again at what is in sight, and keeps it when nobody answers', async () => {
    const { flows, state, settled } = world(10);
    flows.show({});
    await settled();
    state.fails = true;
    flows.refresh(10);
    await settled();
    expect(flows.get(9)?.id).toBe(idOf(9));
    state.fails = false;
    state.total = 4;
    flows.refresh(10);
    await settled();
    expect([flows.count, flows.get(4)]).toEqual([4, undefined]);
  });

  it('shows nothing of a question that was asked before', async () => {
    const { flows, settled } = world(10);
    flows.show({ search: 'a' });
    flows.show({ replica: 17 });
    expect(flows.count).toBe(0);
    await settled();
    expect([flows.filter, flows.count]).toEqual([{ replica: 17 }, 10]);
  });
});
