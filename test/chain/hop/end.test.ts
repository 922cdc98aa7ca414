/** An ingress and its first hops: what it does when one of them dies, and what probes of paths find at the far end. */
import { describe, expect, it } from 'vitest';
import { type End, type EndOptions, end } from '../../../src/chain/end/index.ts';
import { toProbe } from '../../../src/chain/wire/edit.ts';
import { ACCEPTED, ChainHeader } from '../../../src/chain/wire/header.ts';
import { PROBE_LENGTH } from '../../../src/chain/wire/prefix.ts';
import { Network } from '../../../src/engine/network.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { udpPacket } from '../../../src/packet/build.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';
import { addressOf, Fabric, FabricPort, member, prefixOf, registry, TENANT } from './fabric.ts';

const rules = [{ name: 'all', match: {}, chain: 7 }];

async function endAt(runtime: VirtualRuntime, fabric: Fabric, id: number, role: EndOptions['role']) {
  const net = new Network(runtime, { memory: 24 << 20 });
  const inside = new MemoryPort();
  const options = end.check({ role, tenant: TENANT, secret: { high: 1, low: 2 } });
  const app = end.create(options) as End;
  net
    .app('udp', new FabricPort(fabric, addressOf(id)))
    .app('end', app)
    .app('inside', inside);
  net.link('udp.out -> end.outside').link('end.outside -> udp.in');
  net.link('inside.out -> end.inside').link('end.inside -> inside.in');
  await net.start();
  return { net, inside, app };
}

async function world() {
  const runtime = new VirtualRuntime({ seed: 1 });
  const fabric = new Fabric();
  const ingress = await endAt(runtime, fabric, 1, 'ingress');
  const egress = await endAt(runtime, fabric, 2, 'egress');
  const hops = await Promise.all([16, 17].map((id) => member(runtime, fabric, id)));
  for (const [id, app] of [
    [1, ingress.app],
    [2, egress.app],
    [16, hops[0].hop],
    [17, hops[1].hop],
  ] as const)
    app.update({ ...registry([2]), rules, own: { id } });
  const close = async () => {
    for (const { net } of [ingress, egress, ...hops]) await net.close();
  };
  return { runtime, fabric, ingress, egress, hops, close };
}

describe('an ingress', () => {
  it.each([
    ['refuses', 'refused', 6, 1],
    ['is silent', 'silent', 410, 250],
  ] as const)(
    'leaves a first hop that %s, and the egress learns the path',
    async (_, evidence, most, least) => {
      const { runtime, fabric, ingress, egress, hops, close } = await world();
      const send = (flow: number) => {
        ingress.inside.send(udpPacket({ from: `10.0.0.1:${1000 + flow}`, to: '10.0.0.2:53', payload: 'x' }));
        runtime.advance('1ms');
      };
      // A flow through each.
      const byHop = new Map<number, number>();
      for (let flow = 0; byHop.size < 2; flow++) {
        const before = hops.map(({ net }) => net.report().links[0].packets);
        send(flow);
        byHop.set(hops[0].net.report().links[0].packets > before[0] ? 16 : 17, flow);
      }
      for (let i = 0; i < 250; i++) send(byHop.get(16)!);
      const arrived = egress.inside.received.length;
      fabric[evidence === 'refused' ? 'refusing' : 'silent'].add(addressOf(16));
      for (let i = 0; i < 600; i++) {
        send(byHop.get(16)!);
        send(byHop.get(17)!);
      }
      const lost = 1200 - (egress.inside.received.length - arrived);
      // One millisecond in two is of the flow that was hit.
      expect(lost).toBeLessThanOrEqual(Math.ceil(most / 2));
      expect(lost).toBeGreaterThanOrEqual(Math.floor(least / 2));
      expect(ingress.app.takeNews()).toMatchObject({ suspects: [{ replica: 16, evidence }] });
      await close();
    },
  );
});

it('a probe of a path comes back from its far end as well', async () => {
  const { runtime, fabric, hops, close } = await world();
  // Whoever is replica 1 now.
  const asker = new FabricPort(fabric, addressOf(1));
  const probe = prefixOf({ replicas: [17] });
  toProbe(probe, 8);
  asker.send(hops[1].port, { bytes: probe });
  runtime.advance('1ms');
  const header = new ChainHeader();
  const answers = asker.received.filter(({ bytes }) => bytes.length > PROBE_LENGTH);
  const seen = answers.map(({ from, bytes }) => {
    expect(header.read(bytes, 0, bytes.length, 'vxlan-gpe')).toBe(ACCEPTED);
    return [from, header.position];
  });
  expect(seen).toEqual([
    [addressOf(17), 0],
    [addressOf(2), 1],
  ]);
  await close();
});
