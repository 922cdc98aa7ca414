/** A million mutated datagrams at a hop. */
import { expect, it } from 'vitest';
import { toProbe } from '../../../src/chain/wire/edit.ts';
import { emitProbe } from '../../../src/chain/wire/prefix.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { Gso } from '../../../src/packet/segment.ts';
import {
  addressOf,
  type Datagram,
  Fabric,
  FabricPort,
  member,
  Pass,
  prefixOf,
  registry,
  TENANT,
} from './fabric.ts';

const TOTAL = 1_000_000;
const ROUND = 1000;

let state = 7;
const draw = (n: number) => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return (state >>> 8) % n;
};

it('lets a million mutated datagrams pass or drops each of them for a reason, with a function that writes to them', async () => {
  const runtime = new VirtualRuntime({ seed: 1 });
  const fabric = new Fabric();
  const ports = [1, 3].map((id) => new FabricPort(fabric, addressOf(id)));
  for (const id of [1, 2, 3, 32, 33]) {
    // They take what comes, and keep nothing.
    const port = new FabricPort(fabric, addressOf(id));
    port.arrive = () => out++;
  }
  let out = 0;
  // Sometimes it spoils the prefix, too.
  const fn = new Pass((pool, packet) => {
    const at = pool.offset[packet];
    if (draw(8) === 0) pool.slab[at - 1 - draw(Math.max(1, pool.prefixLength[packet]))] = draw(256);
    if (draw(16) === 0) pool.prefixLength[packet] = 4 * draw(33);
    if (pool.length[packet] > 0) pool.slab[at + draw(pool.length[packet])] ^= draw(256);
  });
  const hop = await member(runtime, fabric, 16, fn);
  hop.hop.update({ ...registry([1, 2]), own: { id: 16 } });

  const packet = udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 'x' });
  const probe = new Uint8Array(28);
  emitProbe({ tenant: TENANT, servicePath: 7 }, probe);
  const trace = prefixOf({ replicas: [16, 32] });
  toProbe(trace, 8);
  const prefix = prefixOf({ replicas: [16, 32] });
  const samples = [
    Uint8Array.from([...prefix, ...packet]),
    Uint8Array.from([...prefixOf({ replicas: [0, 0], end: 0 }), ...packet]),
    probe,
    trace,
  ];
  const tcp = tcpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:80', payload: 3000 });

  const mutated = (bytes: Uint8Array) => {
    const copy = bytes.slice(0, draw(8) === 0 ? draw(bytes.length + 1) : bytes.length);
    for (let flips = draw(4); flips > 0 && copy.length > 0; flips--)
      copy[draw(Math.min(64, copy.length))] = draw(256);
    return copy;
  };
  let sent = 0;
  for (let done = 0; done < TOTAL; done += ROUND) {
    for (let i = 0; i < ROUND; i++) {
      let datagram: Omit<Datagram, 'from'>;
      if (draw(16) === 0) {
        // As merged by the port, which has looked at little of it.
        const columns = {
          segments: 3,
          segmentSize: 1000,
          gsoType: Gso.TcpV4,
          checksumStart: 20,
          checksumOffset: 16,
          l3Offset: 0,
        };
        datagram = { prefix: mutated(prefix), bytes: mutated(tcp), ...columns };
        sent += 3;
      } else {
        datagram = { bytes: mutated(samples[draw(samples.length)]) };
        sent++;
      }
      ports[draw(20) === 0 ? 1 : 0].send(hop.port, datagram);
    }
    runtime.advance('1ms');
  }
  const report = hop.net.report();
  const drops = hop.drops();
  expect(report.memory.livePackets).toBe(0);
  const [into, , , away] = [
    'udp.out -> hop.outside',
    'hop.function -> vnf.in',
    'vnf.out -> hop.function',
    'hop.outside -> udp.in',
  ].map((name) => report.links.find(({ link }) => link === name)!.packets);
  // Paths that lead to itself come twice.
  expect(into).toBeGreaterThanOrEqual(sent);
  // Each that came went on, or was counted; more went out only as answers and probes.
  const dropped = Object.values(drops).reduce((sum, n) => sum + n, 0);
  expect(away + dropped).toBeGreaterThanOrEqual(into);
  for (const reason of [
    'chain-encapsulation',
    'nsh-truncated',
    'nsh-no-path',
    'nsh-tlv',
    'nsh-next-protocol',
    'chain-stranger',
    'chain-unknown',
    'chain-misdirected',
    'no-path',
    'inner-malformed',
  ])
    expect(drops[reason], reason).toBeGreaterThan(100);
  expect(out).toBeGreaterThan(100_000);
  await hop.net.close();
}, 240_000);
