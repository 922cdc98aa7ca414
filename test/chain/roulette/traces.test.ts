import { describe, expect, it } from 'vitest';
import type { TableUpdate } from '../../../src/chain/tables/update.ts';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { standing } from '../member/member-world.ts';
import { flowId, proposal, TENANT, World } from './roulette-world.ts';

const HOPS = [
  { position: 0, replica: 1, time: 5000 },
  { position: 1, replica: 9, time: null },
  { position: 2, replica: 60, time: 7000 },
];

function world() {
  const made = new World();
  const lease = made.set({ fw: [1], dpi: [11], egress: [60] });
  made.replica('ingress', 50, { lease });
  made.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
  made.register(1, 20);
  return made;
}
const traces = (made: World) => made.roulette.view(TENANT).all('trace');

describe('a trace at Roulette', () => {
  it('waits for the ingress, is answered with names, and is gone', () => {
    const made = world();
    const asked = made.send('flow.trace', { id: flowId(3) });
    made.runtime.advance(10 * MILLISECOND);
    const { value } = traces(made).get(flowId(3))!;
    expect(asked).toEqual({});
    const answer = { id: flowId(3), asked: value.asked, ingress: 50, hops: HOPS };
    expect(made.ask('flow.traced', { ...answer, asked: '0000000000000000' })).toEqual({ taken: false });
    expect(made.ask('flow.traced', answer)).toEqual({ taken: true });
    made.runtime.advance(10 * MILLISECOND);
    expect(asked.answer).toEqual({
      ...{ id: flowId(3), spi: 7, ingress: 50 },
      hops: [
        { ...HOPS[0], function: 'fw', address: '127.0.0.1:10001' },
        { ...HOPS[1], function: '', address: '' },
        { ...HOPS[2], function: 'egress', address: '127.0.0.1:10060' },
      ],
    });
    expect(traces(made).size).toBe(0);
    expect(made.ask('flow.traced', answer)).toEqual({ taken: false });
  });

  it('of a flow that no ingress has is an error, and another one may be asked', () => {
    const made = world();
    const asked = made.send('flow.trace', { id: flowId(3) });
    made.runtime.advance(2 * SECOND);
    expect(() => made.ask('flow.trace', { id: flowId(3) })).toThrow(/is being traced/);
    made.runtime.advance(SECOND);
    expect(asked.error).toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringMatching(/no ingress/),
    });
    expect(traces(made).size).toBe(0);
    const again = made.send('flow.trace', { id: flowId(3) });
    made.runtime.advance(10 * MILLISECOND);
    expect([traces(made).size, again]).toEqual([1, {}]);
  });

  it('is refused for flows that are not there, where there is no ingress, and beyond sixteen at a time', () => {
    const made = world();
    expect(() => made.ask('flow.trace', { id: flowId(99) })).toThrow(/there is no flow/);
    for (let n = 1; n <= 16; n++) made.send('flow.trace', { id: flowId(n) });
    made.runtime.advance(10 * MILLISECOND);
    expect(() => made.ask('flow.trace', { id: flowId(17) })).toThrow(/there are 16 traces, the limit/);
    made.ask('replica.remove', { id: 50 });
    expect(() => made.ask('flow.trace', { id: flowId(18) })).toThrow(/there is no ingress/);
  });

  it('whose asker died with its Roulette is taken back by another', () => {
    const made = world();
    made.send('flow.trace', { id: flowId(1) });
    made.runtime.advance(10 * MILLISECOND);
    made.roulette.close();
    made.roulette = made.another(made.store);
    made.runtime.advance(SECOND);
    expect(traces(made).size).toBe(1);
    made.runtime.advance(7 * SECOND);
    expect(traces(made).size).toBe(0);
  });
});

describe('members that are asked for a trace', () => {
  it('hear of it if they are ingresses, and their answer comes back', () => {
    const { world: made, runtime, ingress, egress, settle } = standing();
    const heard: [string, NonNullable<TableUpdate['traces']>][] = [];
    for (const [name, { member, half }] of Object.entries({ ingress, egress })) {
      const told = half.update.bind(half);
      half.update = (update) => {
        told(update);
        const { traces: asked } = update;
        if (!asked) return;
        heard.push([name, asked]);
        const answer = asked.map((each) => ({ ...each, hops: HOPS }));
        runtime.timer(runtime.now(), () => member.receive({ traces: answer }));
      };
    }
    made.ask('flows.register', { flows: [proposal(1)] });
    const outcome = made.send('flow.trace', { id: flowId(1) });
    settle();
    expect(heard.map(([name, [{ id }]]) => [name, id])).toEqual([['ingress', flowId(1)]]);
    expect(outcome.answer).toMatchObject({ ingress: ingress.member.id, hops: HOPS });
  });
});
