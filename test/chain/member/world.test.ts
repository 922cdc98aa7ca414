/**
 * Members and two Roulettes, each on its host, with everything between them that can go wrong: connections break, hosts are cut off, a
 * Roulette loses power, answers are lost, functions stop without a word and come back, the chain is edited, ingresses cannot reach replicas
 * that are there.
 */
import { describe, expect, it } from 'vitest';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { flowId } from '../roulette/roulette-world.ts';
import { type Host, memberWorld, ROULETTE, view } from './member-world.ts';

const FLOWS = 60;
const REQUESTS = ['lease.grant', 'lease.keep', 'replica.put', 'flows.register', 'flows.touch'];

function live(seed: number) {
  const { world, runtime, host, settle } = memberWorld(seed, { history: 20 + (seed % 200) });
  const random = runtime.random('events');
  const functions: Host[] = ['fw', 'fw', 'dpi', 'dpi'].map((of) => host(of));
  const ingresses = ['ingress', 'ingress', 'ingress', 'egress'].map((of) => host(of));
  const members = [...functions, ...ingresses];
  settle();
  let crashes = 0;
  const some = () => `10.0.0.${2 + random.below(members.length)}`;
  const chains = [['fw'], ['fw', 'dpi'], ['dpi', 'fw'], ['fw']];
  const events = [
    () => runtime.outside.breakChannels(),
    () => {
      const cut = some();
      runtime.outside.breakChannels((client) => client.startsWith(`${cut}:`));
    },
    () => {
      const heal = runtime.outside.partition(some(), ROULETTE);
      runtime.timer(runtime.now() + random.below(4 * SECOND), heal);
    },
    () => {
      crashes++;
      world.roulette.close();
      // Its leases would run on, and write to the same disk.
      world.store.close();
      runtime.outside.breakChannels();
      runtime.disk.crash();
      world.start();
    },
    () => {
      const { connection } = members[random.below(members.length)]!;
      connection.deaf = REQUESTS[random.below(REQUESTS.length)]!;
      runtime.timer(runtime.now() + random.below(SECOND), () => {
        connection.deaf = undefined;
      });
    },
    () => world.send('replica.remove', { id: 1 + random.below(members.length) }),
    () => world.send('chain.put', { spi: 7, functions: chains[random.below(chains.length)] }),
    () => functions.push(host(['fw', 'dpi'][random.below(2)]!)),
    () => functions[random.below(functions.length)]!.member.close(),
  ];
  const end = runtime.now() + 4 * SECOND;
  while (runtime.now() < end) {
    for (const ingress of ingresses.slice(0, 3)) {
      const n = random.below(FLOWS);
      ingress.packet(flowId(n), `flow ${n}`, 7);
    }
    if (random.below(4) === 0) {
      const n = random.below(FLOWS);
      ingresses[random.below(3)]!.mend(flowId(n), `flow ${n}`);
    }
    if (random.below(10) === 0) events[random.below(events.length)]!();
    runtime.advance(random.below(30 * MILLISECOND));
  }
  functions.push(host('fw'), host('dpi'));
  settle(12 * SECOND);
  // The last packets, which bring flows to the revision in force.
  for (const ingress of ingresses.slice(0, 3)) {
    for (let n = 0; n < FLOWS; n++) ingress.packet(flowId(n), `flow ${n}`, 7);
  }
  settle(4 * SECOND);
  return { world, ingresses, functions, crashes };
}

describe('members and Roulette', () => {
  it('agree in the end on who is there and on every flow’s path, whatever happened between them, at 200 seeds', () => {
    let crashes = 0;
    let reconnects = 0;
    let failures = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const { world, ingresses, functions, ...rest } = live(seed);
      crashes += rest.crashes;
      const registry = view(world);
      const chain = registry.chainRevision(7)!;
      const at = `seed ${seed}`;
      // Everybody who is alive has one replica, and nobody else.
      const alive = [...functions, ...ingresses].filter(({ member }) => member.status.connected);
      const ids = alive.map(({ member }) => member.id).sort((a, b) => a - b);
      expect(
        [...registry.all('replica').keys()].map(Number).sort((a, b) => a - b),
        at,
      ).toEqual(ids);
      for (const { half, member } of alive) {
        expect(half.own, at).toBe(member.id);
        expect(
          [...half.replicas.keys()].sort((a, b) => a - b),
          at,
        ).toEqual(ids);
        expect(half.chains.get(7)?.revisions.at(-1)?.revision, at).toBe(chain.revision);
        reconnects += member.status.reconnects;
        failures += member.status.flows.failures;
      }
      for (const { half, member } of ingresses.slice(0, 3)) {
        expect(half.flows.size, at).toBe(FLOWS);
        expect(member.status.flows.waiting, at).toBe(0);
        for (const [id, { revision, generation, path }] of half.flows) {
          const held = registry.get('flow', id)?.value;
          const { revision: r, generation: g, path: p } = held ?? {};
          expect({ id, revision, generation, path }, at).toEqual({ id, revision: r, generation: g, path: p });
          expect(
            path.map((replica) => registry.replica(replica)?.function),
            at,
          ).toEqual(chain.functions);
        }
      }
    }
    // What was tried was hard enough to mean something.
    expect(crashes).toBeGreaterThan(100);
    expect(reconnects).toBeGreaterThan(1000);
    expect(failures).toBeGreaterThan(100);
  }, 300_000);
});
