/** What is said of a chain when something of it comes, goes, or changes while a thousand flows pass. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { TENANT } from '../roulette/roulette-world.ts';
import { lost, type Replica, range, type Trip, WholeChain, wayOf } from './chain-world.ts';

const FLOWS = range(0, 1000);
const STEADY = 60 * MILLISECOND;

let chain: WholeChain;
/** The way of each flow, as its last packets went. */
let before: Map<number, string>;
const waysOf = (trips: readonly Trip[]) => new Map(trips.map((trip) => [trip.flow, wayOf(trip)]));

beforeEach(async () => {
  chain = await WholeChain.start({ fw: 3, dpi: 2 });
  const trips = chain.run(FLOWS, STEADY);
  expect(lost(trips)).toEqual([]);
  before = waysOf(trips);
}, 60_000);
afterEach(() => chain.close());

/** Flows through a replica. */
const through = ({ member }: Replica) =>
  new Set(FLOWS.filter((flow) => before.get(flow)!.split(' ').includes(String(member.id))));
const of = (name: string) => chain.replicas.filter((replica) => replica.of === name);

/** From a change on: of each flow, ns from the first packet that was lost to the first that came again. */
function outages(trips: readonly Trip[]): number[] {
  const broken = new Map<number, number>();
  const found: number[] = [];
  for (const { flow, sent, came } of trips) {
    if (came === Number.POSITIVE_INFINITY) {
      if (!broken.has(flow)) broken.set(flow, sent);
    } else if (broken.has(flow)) {
      found.push(sent - broken.get(flow)!);
      broken.delete(flow);
    }
  }
  expect(broken.size).toBe(0);
  return found.sort((a, b) => a - b);
}

describe('a chain with 1000 live flows', { timeout: 60_000 }, () => {
  it('spreads them over its replicas, and replies pass the same ones in the opposite order', () => {
    const trips = chain.run(FLOWS, STEADY);
    expect(lost(trips)).toEqual([]);
    for (const trip of trips) expect(wayOf(trip)).toBe(before.get(trip.flow));
    expect(trips.some(({ back }) => back)).toBe(true);
    expect(new Set(before.values()).size).toBe(6);
    for (const replica of of('fw')) expect(through(replica).size / FLOWS.length).toBeCloseTo(1 / 3, 1);
  });

  it('that gets a replica moves none of them, loses nothing, and gives it its share of the new ones', async () => {
    await chain.add('fw');
    const trips = chain.run([...FLOWS, ...range(1000, 2000)], STEADY);
    expect(lost(trips)).toEqual([]);
    const after = waysOf(trips);
    for (const flow of FLOWS) expect(after.get(flow)).toBe(before.get(flow));
    const newcomer = String(chain.replicas.at(-1)!.member.id);
    const share =
      range(1000, 2000).filter((flow) => after.get(flow)!.split(' ')[0] === newcomer).length / 2000;
    // 99.9 %: 0.25 and 3.3 standard deviations of 0.0097.
    expect(Math.abs(share - 0.25)).toBeLessThan(0.032);
  });

  it('with a replica that drains loses nothing and moves none; new flows go elsewhere', () => {
    const leaving = of('fw')[0]!;
    leaving.member.drain();
    chain.runtime.advance('50ms');
    const trips = chain.run([...FLOWS, ...range(1000, 500)], STEADY);
    expect(lost(trips)).toEqual([]);
    const after = waysOf(trips);
    for (const flow of FLOWS) expect(after.get(flow)).toBe(before.get(flow));
    const id = String(leaving.member.id);
    expect(range(1000, 500).filter((flow) => after.get(flow)!.split(' ').includes(id))).toEqual([]);
  });

  it.each([
    ['that is killed, found by refusals', 'refusing', 20 * MILLISECOND],
    ['that stands still, found by probes', 'silent', 400 * MILLISECOND],
  ] as const)('with a replica %s: its flows alone are moved, the others lose nothing', (_, how, bar) => {
    const victim = of('dpi')[0]!;
    const hit = through(victim);
    expect(hit.size).toBeGreaterThan(300);
    chain.kill(victim, how);
    const trips = chain.run(FLOWS, 600 * MILLISECOND);
    for (const trip of lost(trips)) expect(hit.has(trip.flow)).toBe(true);
    const times = outages(trips);
    // Packets of a flow are 20 ms apart: that of the one which found out is lost, the next one passes.
    expect(times[Math.floor(times.length * 0.99)]).toBeLessThanOrEqual(bar + 20 * MILLISECOND);
    const after = waysOf(trips.slice(-2 * FLOWS.length));
    const [survivor] = of('dpi').filter((replica) => replica !== victim);
    for (const flow of FLOWS) {
      const [first, second] = before.get(flow)!.split(' ');
      const expected = hit.has(flow) ? `${first} ${survivor!.member.id}` : `${first} ${second}`;
      expect(after.get(flow)).toBe(expected);
    }
  });

  it('that is edited loses nothing, has no packet on a mixed path, and is on the new one within 50 ms', () => {
    let at = 0;
    const trips = chain.run(FLOWS, 240 * MILLISECOND, (elapsed) => {
      if (elapsed !== 60 * MILLISECOND) return;
      at = chain.runtime.now();
      chain.edit('dpi', 'fw');
    });
    expect(lost(trips)).toEqual([]);
    const orders = new Set(
      trips.map(({ way, back }) => (back ? [...way].reverse() : way).map((each) => each.of).join()),
    );
    expect(orders).toEqual(new Set(['fw,dpi', 'dpi,fw']));
    const isNew = ({ way, back }: Trip) => (back ? way.at(-1) : way[0])!.of === 'dpi';
    const first = Math.min(...trips.filter(isNew).map(({ came }) => came));
    expect(first - at).toBeLessThan(50 * MILLISECOND);
    // Each flow's packets are on the new path from some time on; functions keep their replicas.
    const after = waysOf(trips.slice(-2 * FLOWS.length));
    for (const flow of FLOWS) expect(after.get(flow)).toBe(before.get(flow)!.split(' ').reverse().join(' '));
  });

  it('that is edited after a death tells Roulette of every flow that has moved', () => {
    chain.kill(of('dpi')[0]!);
    chain.run(FLOWS, 200 * MILLISECOND);
    chain.edit('fw', 'dpi', 'fw');
    chain.run(FLOWS, 200 * MILLISECOND);
    chain.runtime.advance('500ms');
    const view = chain.world.roulette.view(TENANT);
    const { revision } = view.chainRevision(7)!;
    const revisions = new Set([...view.all('flow').values()].map(({ value }) => value.revision));
    expect(revisions).toEqual(new Set([revision]));
    expect(chain.ingress.member.status.flows.waiting).toBe(0);
  });

  it('without Roulette for 60 s goes on, places new flows, and agrees with it within 3 s of its return', () => {
    const back = chain.stopRoulette();
    chain.runtime.advance('30s');
    const trips = chain.run([...FLOWS, ...range(1000, 1000)], STEADY);
    expect(lost(trips)).toEqual([]);
    const after = waysOf(trips);
    for (const flow of FLOWS) expect(after.get(flow)).toBe(before.get(flow));
    chain.runtime.advance('30s');
    back();
    const view = () => chain.world.roulette.view(TENANT);
    chain.runtime.advance('3s');
    const later = chain.run([...FLOWS, ...range(1000, 1000)], STEADY);
    expect(lost(later)).toEqual([]);
    expect(view().all('flow').size).toBe(2000);
    expect(chain.ingress.member.status.flows.waiting).toBe(0);
    expect(view().readyReplicas('fw')).toHaveLength(3);
    for (const trip of later) expect(wayOf(trip)).toBe(after.get(trip.flow));
  });
});
