/** Ends with the hops of functions between them, as they are, in one network. */
import { afterEach, expect, it } from 'vitest';
import { end } from '../../../src/chain/end/index.ts';
import { type Hop, hop } from '../../../src/chain/hop/hop.ts';
import type { ChainControlled } from '../../../src/chain/member/control.ts';
import { type App, Network, type Ports, VirtualRuntime } from '../../../src/engine/index.ts';
import { totalDrops } from '../../../src/engine/report.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';
import { chainOf, EGRESS, flows, INGRESS, packetOf, replicaOf } from './ends-world.ts';
import { Fabric, serialOf } from './fabric.ts';

/** A function that does nothing but note what it has seen. */
class Note implements App {
  readonly inputs = ['in'];
  readonly outputs = ['out'];
  readonly seen = new Set<number>();

  push({ pool, input, output }: Ports): void {
    for (let n = input.in!.waiting; n > 0; n--) {
      const packet = input.in!.take();
      const at = pool.offset[packet]!;
      this.seen.add(serialOf(pool.slab, at, at + pool.length[packet]!));
      output.out!.put(packet);
    }
  }
}

const HOPS = { 11: 'fw', 12: 'fw', 21: 'ids', 22: 'ids' } as const;
const ids = Object.keys(HOPS).map(Number) as (keyof typeof HOPS)[];

async function world() {
  const runtime = new VirtualRuntime({ seed: 9 });
  const net = new Network(runtime, { memory: 48 << 20 });
  const names: Record<number, string> = { [INGRESS]: 'ingress', [EGRESS]: 'egress' };
  for (const id of ids) names[id] = `hop${id}`;
  const fabric = new Fabric(names);
  const [client, server] = [new MemoryPort(), new MemoryPort()];
  const notes = new Map(ids.map((id) => [id, new Note()]));
  net.app('client', client).app('server', server).app('fabric', fabric);
  const common = { tenant: 42, secret: { high: 1, low: 2 } };
  for (const [role, port] of [
    ['ingress', 'client'],
    ['egress', 'server'],
  ] as const) {
    net
      .app(role, end({ ...common, role }))
      .link(`${port}.out -> ${role}.inside`)
      .link(`${role}.inside -> ${port}.in`);
    net.link(`${role}.outside -> fabric.${role}`).link(`fabric.${role} -> ${role}.outside`);
  }
  for (const id of ids) {
    net.app(`hop${id}`, hop({ tenant: 42 })).app(`note${id}`, notes.get(id)!);
    net.link(`hop${id}.function -> note${id}.in`).link(`note${id}.out -> hop${id}.function`);
    net.link(`hop${id}.outside -> fabric.hop${id}`).link(`fabric.hop${id} -> hop${id}.outside`);
  }
  await net.start();
  for (const [id, name] of Object.entries(names)) {
    (net.get(name) as unknown as ChainControlled).update({
      whole: true,
      own: { id: Number(id) },
      chains: [chainOf([[1, ['fw', 'ids']]])],
      replicas: [
        replicaOf(INGRESS, 'ingress'),
        replicaOf(EGRESS, 'egress'),
        ...ids.map((each) => replicaOf(each, HOPS[each])),
      ],
      rules: [{ name: 'all', match: '*', chain: 7 }],
    });
  }
  let serial = 0;
  /** A packet of each flow. The replicas that each has met, in order of their ids; nothing for one that did not arrive. */
  const send = (count: number, back = false): string[] => {
    const first = serial + 1;
    for (const flow of flows(count)) (back ? server : client).send(packetOf(flow, ++serial, back));
    runtime.advance('1ms');
    const arrived = new Set(
      (back ? client : server).received.splice(0).map(({ bytes }) => serialOf(bytes, 0, bytes.length)),
    );
    return flows(count).map((i) =>
      arrived.has(first + i) ? ids.filter((id) => notes.get(id)!.seen.has(first + i)).join(' ') : '',
    );
  };
  return { runtime, net, fabric, send };
}

let net: Network;
afterEach(() => net.close());

it('packets and their replies pass the same functions', async () => {
  const { send, ...rest } = await world();
  net = rest.net;
  const there = send(300);
  expect(new Set(there)).toEqual(new Set(['11 21', '11 22', '12 21', '12 22']));
  expect(send(300, true)).toEqual(there);
  expect(totalDrops(net.report())['chain-stranger'] ?? 0).toBe(0);
});

it('a replica in the middle of the path that dies is avoided by the hop before it, and both ends follow', async () => {
  const { send, runtime, fabric, ...rest } = await world();
  net = rest.net;
  const before = send(300);
  send(300, true);
  fabric.dead.add(22);
  runtime.advance('450ms');
  const after = send(300);
  expect(after).toEqual(before.map((way) => way.replace('22', '21')));
  expect(send(300, true)).toEqual(after);
  expect(send(300)).toEqual(after);
  const { reselected } = (net.get('hop11') as unknown as Hop).report();
  // The ends have learned the new path from one another: nothing is chosen for the last packets.
  send(300);
  expect((net.get('hop11') as unknown as Hop).report().reselected).toBe(reselected);
});

it('an edit of the chain is followed by all, whoever hears of it first', async () => {
  const { send, ...rest } = await world();
  net = rest.net;
  send(100);
  const edit = {
    chains: [
      chainOf([
        [1, ['fw', 'ids']],
        [2, ['ids']],
      ]),
    ],
  };
  for (const name of ['egress', 'hop11', 'hop12', 'hop21', 'hop22', 'ingress']) {
    (net.get(name) as unknown as ChainControlled).update(edit);
    expect(send(100)).not.toContain('');
    expect(send(100, true)).not.toContain('');
  }
  const there = send(100);
  expect(new Set(there)).toEqual(new Set(['21', '22']));
  expect(send(100, true)).toEqual(there);
});
