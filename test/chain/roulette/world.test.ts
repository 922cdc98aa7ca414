/**
 * Three ingresses and Roulette, each on its host, with everything between them that can go wrong: connections break, hosts are cut
 * off, Roulette loses power; meanwhile replicas come, drain and go, and the chain is edited.
 */
import { describe, expect, it } from 'vitest';
import { MILLISECOND, SECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { serve } from '../../../src/sim/chain/roulette.ts';
import { Ingress } from './ingress.ts';
import { flowId, TENANT, World } from './roulette-world.ts';

const ROULETTE = '10.0.0.1';
const FLOWS = 60;
/** Bytes on their way to one member: streams are to meet a full buffer. */
const LITTLE = 2048;

function live(seed: number) {
  const runtime = new VirtualRuntime({
    seed,
    outside: { delay: '1ms', jitter: '10ms', patience: '400ms' },
    disk: { syncTime: '2ms', jitter: '3ms' },
  });
  const random = runtime.random('events');
  const world = new World({ packetLifetime: 2 * SECOND, history: 20 + random.below(200) }, runtime);
  const lease = world.set({ fw: [1, 2, 3], dpi: [11, 12] });
  world.ask('chain.put', { spi: 7, functions: ['fw', 'dpi'] });
  serve(runtime, `${ROULETTE}:4791`, () => world.roulette, LITTLE);
  const hosts = [2, 3, 4].map((n) => `10.0.0.${n}`);
  const ingresses = hosts.map((host) => new Ingress(runtime, `${host}:0`, `${ROULETTE}:4791`));
  runtime.advance(SECOND / 5);
  let crashes = 0;
  const change = (name: string, body: object) => world.send(name, body);
  const replica = (name: string, id: number) =>
    change('replica.put', { id, function: name, address: ROULETTE, port: 5000 + id, lease });
  const events = [
    () => runtime.outside.breakChannels(),
    () => {
      const host = hosts[random.below(3)]!;
      runtime.outside.breakChannels((client) => client.startsWith(`${host}:`));
    },
    () => {
      const heal = runtime.outside.partition(hosts[random.below(3)]!, ROULETTE);
      runtime.timer(runtime.now() + random.below(SECOND), heal);
    },
    () => {
      crashes++;
      world.roulette.close();
      runtime.outside.breakChannels();
      runtime.disk.crash();
      world.start();
    },
    () => replica('fw', 4 + random.below(3)),
    () => replica('dpi', 13),
    () => change('replica.remove', { id: 1 + random.below(3) }),
    () => change('replica.state', { id: 11 + random.below(3), state: 'draining' }),
    () => change('chain.put', { spi: 7, functions: [['fw'], ['fw', 'dpi'], ['dpi', 'fw']][random.below(3)] }),
  ];
  const end = runtime.now() + 3 * SECOND;
  while (runtime.now() < end) {
    for (const ingress of ingresses) {
      const n = random.below(FLOWS);
      ingress.packet(flowId(n), `flow ${n}`, 7);
    }
    if (random.below(12) === 0) events[random.below(events.length)]!();
    runtime.advance(random.below(30 * MILLISECOND));
  }
  // Some replica of each has to be there in the end.
  replica('fw', 7);
  replica('dpi', 14);
  runtime.advance(10 * SECOND);
  return { world, ingresses, crashes };
}

describe('three ingresses and Roulette', () => {
  it('agree on every flow’s path in the end, whatever happened between them, at 200 seeds', () => {
    let flows = 0;
    let shared = 0;
    let reconnects = 0;
    let crashes = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const life = live(seed);
      const view = life.world.roulette.view(TENANT);
      const chain = view.chainRevision(7)!;
      const seen = new Map<string, number>();
      for (const { mirror, flows: known, reconnects: times } of life.ingresses) {
        reconnects += times;
        expect(mirror.rev, `seed ${seed}`).toBe(life.world.roulette.rev);
        for (const [id, { revision, generation, path }] of known) {
          const held = view.get('flow', id)?.value;
          expect({ id, revision, generation, path }, `seed ${seed}`).toEqual({
            ...{ id, revision: held?.revision, generation: held?.generation, path: held?.path },
          });
          seen.set(id, (seen.get(id) ?? 0) + 1);
        }
      }
      for (const [id, { value }] of view.all('flow')) {
        expect(value.revision, `seed ${seed}, flow ${id}`).toBe(chain.revision);
        const functions = value.path.map((replica) => view.replica(replica)?.function);
        expect(functions, `seed ${seed}, flow ${id}`).toEqual(chain.functions);
      }
      flows += seen.size;
      shared += [...seen.values()].filter((count) => count > 1).length;
      crashes += life.crashes;
    }
    // What was tried was hard enough to mean something.
    expect(flows).toBeGreaterThan(200 * 40);
    expect(shared).toBeGreaterThan(200 * 30);
    expect(reconnects).toBeGreaterThan(1000);
    expect(crashes).toBeGreaterThan(100);
  }, 180_000);
});
