import { describe, expect, it } from 'vitest';
import { toProbe, turnRound } from '../../../src/chain/wire/edit.ts';
import { ACCEPTED, ChainHeader } from '../../../src/chain/wire/header.ts';
import { emitProbe, type FlowPrefix } from '../../../src/chain/wire/prefix.ts';
import { generation, replica } from '../../../src/chain/wire/tlv.ts';
import { MILLISECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';
import { tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import * as nsh from '../../../src/packet/nsh.ts';
import { Gso } from '../../../src/packet/segment.ts';
import {
  addressOf,
  type Datagram,
  Fabric,
  FabricPort,
  type Member,
  member,
  Pass,
  prefixOf,
  registry,
  replicaOf,
  TENANT,
} from './fabric.ts';

const packet = udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 'x' });
const joined = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

interface World {
  runtime: VirtualRuntime;
  fabric: Fabric;
  ingress: FabricPort;
  egress: FabricPort;
  /** By replica id. */
  members: Map<number, Member>;
  functions: Map<number, Pass>;
  close(): Promise<void>;
}

/** A chain with so many replicas of each function; its ends only send and receive. */
async function world(replicas: readonly number[], options = {}): Promise<World> {
  const runtime = new VirtualRuntime({ seed: 1 });
  const fabric = new Fabric();
  const ingress = new FabricPort(fabric, addressOf(1));
  const egress = new FabricPort(fabric, addressOf(2));
  const members = new Map<number, Member>();
  const functions = new Map<number, Pass>();
  for (const [k, count] of replicas.entries()) {
    for (let id = 16 * (k + 1); id < 16 * (k + 1) + count; id++) {
      const fn = new Pass();
      functions.set(id, fn);
      const each = await member(runtime, fabric, id, fn, { probes: false, ...options });
      each.hop.update({ ...registry(replicas), own: { id } });
      members.set(id, each);
    }
  }
  const close = async () => {
    for (const { net } of members.values()) await net.close();
  };
  return { runtime, fabric, ingress, egress, members, functions, close };
}

const header = new ChainHeader();
function read({ prefix, bytes }: Datagram) {
  const from = prefix ?? bytes;
  expect(header.read(from, 0, from.length, 'vxlan-gpe')).toBe(ACCEPTED);
  const { functions, path, nsh: at, position } = header;
  return {
    position,
    ttl: nsh.ttl(from, at),
    generation: generation(from, path),
    ids: Array.from({ length: functions + 2 }, (_, i) => replica(from, path, i - 1)),
    inner: prefix ? bytes : bytes.slice(header.end),
  };
}

describe.each([1, 3, 8])('a chain of %i hops', (count) => {
  const path = Array.from({ length: count }, (_, k) => 16 * (k + 1));

  it('carries packets through each function once, to the far end and back', async () => {
    const { runtime, ingress, egress, members, functions, close } = await world(path.map(() => 2));
    const first = members.get(path[0])!.port;
    for (let i = 0; i < 100; i++)
      ingress.send(first, { bytes: joined(prefixOf({ replicas: path }), packet, Uint8Array.of(i)) });
    runtime.advance('1ms');
    expect(egress.received).toHaveLength(100);
    egress.received.forEach((datagram, i) => {
      const { inner, ...rest } = read(datagram);
      expect(rest).toEqual({ position: count, ttl: 63 - count, generation: 0, ids: [1, ...path, 2] });
      // In order, and unchanged.
      expect(inner).toEqual(joined(packet, Uint8Array.of(i)));
      expect(datagram.from).toBe(addressOf(path.at(-1)!));
    });
    expect([...functions].map(([id, { seen }]) => [id, seen.length])).toEqual(
      [...functions.keys()].map((id) => [id, path.includes(id) ? 100 : 0]),
    );

    const back = prefixOf({ replicas: path });
    header.read(back, 0, back.length, 'vxlan-gpe');
    turnRound(back, header.nsh, header.path);
    egress.send(members.get(path.at(-1)!)!.port, { bytes: joined(back, packet) });
    runtime.advance('1ms');
    expect(ingress.received).toHaveLength(1);
    expect(read(ingress.received[0])).toMatchObject({
      position: count,
      ids: [2, ...path.toReversed(), 1],
      inner: packet,
    });
    for (const each of members.values()) expect(each.drops()).toEqual({});
    await close();
  });

  it('carries superframes whole, with the prefix of each hop in front of all segments', async () => {
    const { runtime, ingress, egress, members, functions, close } = await world(path.map(() => 1));
    const bytes = tcpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:80', payload: 40_000 });
    const superframe = {
      segments: 40,
      segmentSize: 1000,
      gsoType: Gso.TcpV4,
      checksumStart: 20,
      checksumOffset: 16,
      l3Offset: 0,
    };
    ingress.send(members.get(path[0])!.port, { prefix: prefixOf({ replicas: path }), bytes, ...superframe });
    runtime.advance('1ms');
    expect(egress.received).toHaveLength(1);
    const [datagram] = egress.received;
    expect(datagram).toMatchObject(superframe);
    expect(read(datagram)).toMatchObject({ position: count, ttl: 63 - count, inner: bytes });
    for (const { seen } of functions.values()) expect(seen).toEqual([40]);
    await close();
  });
});

describe('a hop', () => {
  const send = (world: World, to: number, bytes: Uint8Array, from = world.ingress) => {
    from.send(world.members.get(to)!.port, { bytes });
    world.runtime.advance('1ms');
  };

  it.each([
    ['chain-stranger', { from: 3 }],
    ['chain-unknown', { servicePath: 8 }],
    ['chain-unknown', { revision: 16 }],
    ['chain-unknown', { tenant: 43 }],
    ['chain-unknown', { replicas: [16, 32, 48] }],
    ['chain-misdirected', { replicas: [17, 32] }],
    ['nsh-next-protocol', { family: 6 as const }],
  ])(
    'drops as %s what is %o',
    async (reason, { from = 1, ...fields }: Partial<FlowPrefix> & { from?: number }) => {
      const each = await world([1, 1]);
      const stranger = from === 1 ? each.ingress : new FabricPort(each.fabric, addressOf(from));
      send(each, 16, joined(prefixOf({ replicas: [16, 32], ...fields }), packet), stranger);
      expect(each.members.get(16)!.drops()).toEqual({ [reason]: 1 });
      expect(each.egress.received).toEqual([]);
      await each.close();
    },
  );

  it('drops what is not for it yet or no longer: before it is registered, at another position, at the end of the TTL', async () => {
    const each = await world([1, 1]);
    const { hop, drops } = each.members.get(16)!;
    hop.update({ own: { id: 0 } });
    send(each, 16, joined(prefixOf({ replicas: [16, 32] }), packet));
    expect(drops()).toEqual({ 'not-registered': 1 });
    hop.update({ own: { id: 16 } });
    const late = joined(prefixOf({ replicas: [16, 32] }), packet);
    nsh.setServiceIndex(late, 8, 254);
    send(each, 16, late);
    nsh.setServiceIndex(late, 8, 253);
    send(each, 16, late);
    expect(drops()).toMatchObject({ 'chain-misdirected': 2 });
    const tired = joined(prefixOf({ replicas: [16, 32] }), packet);
    nsh.setTtl(tired, 8, 1);
    send(each, 16, tired);
    expect(drops()).toMatchObject({ 'nsh-ttl': 1 });
    expect(each.egress.received).toEqual([]);
    await each.close();
  });

  it('drops what its function makes of nothing: no prefix, no path', async () => {
    const runtime = new VirtualRuntime({ seed: 1 });
    const fabric = new Fabric();
    const ingress = new FabricPort(fabric, addressOf(1));
    let n = 0;
    const each = await member(
      runtime,
      fabric,
      16,
      new Pass((pool, p) => {
        if (n++ === 0) pool.prefixLength[p] = 0;
        else
          pool.prefixLength[p] = emitProbe(
            { tenant: TENANT, servicePath: 7 },
            pool.slab,
            pool.offset[p] - 28,
          );
      }),
    );
    each.hop.update({ ...registry([1]), own: { id: 16 } });
    for (let i = 0; i < 2; i++)
      ingress.send(each.port, { bytes: joined(prefixOf({ replicas: [16] }), packet) });
    runtime.advance('1ms');
    expect(each.drops()).toEqual({ 'no-path': 2 });
    await each.net.close();
  });

  it('chooses a replica where the path leaves the choice, all hops the same, and where the one meant is gone', async () => {
    const each = await world([1, 4, 4]);
    const chosen = new Set<string>();
    for (let flow = 0; flow < 50; flow++) {
      const choose = prefixOf({ replicas: [16, 0, 0], end: 0, flowLow: flow });
      const gone = prefixOf({ replicas: [16, 99, 48], flowLow: flow, generation: 65_535 });
      send(each, 16, joined(choose, packet));
      send(each, 16, joined(gone, packet));
      const [a, b] = each.egress.received.splice(0).map(read);
      expect(a.ids.slice(0, 2)).toEqual([1, 16]);
      expect(a.ids[4]).toBe(2);
      expect(a.generation).toBe(3);
      // One slot, and nothing else.
      expect(b.ids).toEqual([1, 16, a.ids[2], 48, 2]);
      expect(b.generation).toBe(1);
      chosen.add(a.ids.slice(2, 4).join());
    }
    expect(chosen.size).toBeGreaterThan(8);
    await each.close();
  });

  it('sends on to draining replicas, and drops where there is none at all', async () => {
    const each = await world([1, 2]);
    const { hop, drops } = each.members.get(16)!;
    hop.update({ replicas: [replicaOf(32, 'f1', 'draining')] });
    send(each, 16, joined(prefixOf({ replicas: [16, 32] }), packet));
    expect(read(each.egress.received[0]).ids[2]).toBe(32);
    hop.update({ gone: [32, 33] });
    send(each, 16, joined(prefixOf({ replicas: [16, 32] }), packet));
    expect(drops()).toEqual({ 'no-replica': 1 });
    await each.close();
  });

  it('finishes packets on the revision that they carry, whatever is in force', async () => {
    const each = await world([1, 1]);
    for (const { hop } of each.members.values())
      hop.update({
        chains: [
          {
            spi: 7,
            symmetric: true,
            ended: false,
            revisions: [
              { revision: 17, functions: ['f0', 'f1'] },
              { revision: 18, functions: ['f1'] },
            ],
          },
        ],
      });
    send(each, 16, joined(prefixOf({ replicas: [16, 32] }), packet));
    send(each, 32, joined(prefixOf({ replicas: [32], revision: 18 }), packet));
    expect(each.egress.received.map((one) => read(one).ids)).toEqual([
      [1, 16, 32, 2],
      [1, 32, 2],
    ]);
    await each.close();
  });
});

describe('probes', () => {
  it('of a replica are answered to whoever asks, and answers are not answered', async () => {
    const each = await world([1]);
    const stranger = new FabricPort(each.fabric, '10.8.0.1:5000');
    const probe = new Uint8Array(28);
    emitProbe({ tenant: TENANT, servicePath: 7 }, probe);
    stranger.send(each.members.get(16)!.port, { bytes: probe });
    each.runtime.advance('1ms');
    const answer = probe.slice();
    nsh.setTtl(answer, 8, 62);
    expect(stranger.received).toEqual([{ bytes: answer, from: addressOf(16) }]);
    stranger.send(each.members.get(16)!.port, { bytes: answer });
    each.runtime.advance('1ms');
    expect(stranger.received).toHaveLength(1);
    await each.close();
  });

  it('that share their bytes with others leave those as they were', async () => {
    const each = await world([1, 1]);
    const probe = new Uint8Array(28);
    emitProbe({ tenant: TENANT, servicePath: 7 }, probe);
    each.ingress.send(each.members.get(16)!.port, { bytes: probe, twice: true });
    each.runtime.advance('1ms');
    expect(each.ingress.received.splice(0).map(({ bytes }) => nsh.ttl(bytes, 8))).toEqual([62, 62]);
    const along = prefixOf({ replicas: [16, 32] });
    toProbe(along, 8);
    each.ingress.send(each.members.get(16)!.port, { bytes: along, twice: true });
    each.runtime.advance('1ms');
    const came = each.ingress.received.map((one) => read(one));
    expect(came.map(({ position, ttl }) => [position, ttl])).toEqual([
      [0, 63],
      [0, 63],
      [1, 62],
      [1, 62],
    ]);
    await each.close();
  });

  it('of a path are answered by each hop to the start of the path, and go on past the functions', async () => {
    const each = await world([1, 1, 1]);
    const probe = prefixOf({ replicas: [16, 32, 0] });
    toProbe(probe, 8);
    each.ingress.send(each.members.get(16)!.port, { bytes: probe });
    each.runtime.advance('1ms');
    expect(each.ingress.received.map((one) => [one.from, read(one).position])).toEqual([
      [addressOf(16), 0],
      [addressOf(32), 1],
      [addressOf(48), 2],
    ]);
    expect(each.egress.received.map((one) => read(one))).toMatchObject([
      { position: 3, ids: [1, 16, 32, 48, 2] },
    ]);
    for (const { seen } of each.functions.values()) expect(seen).toEqual([]);
    await each.close();
  });
});

describe('a next hop that cannot be reached', () => {
  /** Sends a packet of a flow through 16 each millisecond; which replicas of f1 they went through, by time in ms. */
  async function stream(each: World, milliseconds: number, ids = [16, 32]) {
    const through: number[] = [];
    for (let t = 0; t < milliseconds; t++) {
      each.ingress.send(each.members.get(16)!.port, { bytes: joined(prefixOf({ replicas: ids }), packet) });
      each.runtime.advance(MILLISECOND);
      // Without the probes of those that send to it.
      const got = each.egress.received.splice(0).filter(({ bytes }) => bytes.length > 28);
      through.push(got.length === 0 ? 0 : read(got[0]).ids[2]);
    }
    return through;
  }

  it('is left milliseconds after a refusal; others keep their replicas, and it is told once', async () => {
    const each = await world([1, 4], { probes: true });
    const { hop } = each.members.get(16)!;
    let calls = 0;
    hop.onNews = () => calls++;
    expect(new Set(await stream(each, 300))).toEqual(new Set([32]));
    each.fabric.refusing.add(addressOf(32));
    const after = await stream(each, 300);
    // What it was sent while it was asked is lost, and nothing else: one packet goes every millisecond.
    const lost = after.lastIndexOf(0) + 1;
    expect(lost).toBeLessThanOrEqual(4);
    expect(after.slice(lost).every((id) => id > 32)).toBe(true);
    expect(new Set(await stream(each, 20, [16, 33]))).toEqual(new Set([33]));
    expect(calls).toBe(1);
    expect(hop.takeNews()).toEqual({ suspects: [{ replica: 32, evidence: 'refused' }] });
    expect(hop.takeNews()).toBeUndefined();
    // It listens again, and answers the next probe.
    each.fabric.refusing.clear();
    const back = await stream(each, 300);
    expect(back.indexOf(32)).toBeLessThan(110);
    expect(new Set(back.slice(110))).toEqual(new Set([32]));
    // Answers to its own probes are no drops.
    expect(each.members.get(16)!.drops()).not.toHaveProperty('chain-probe');
    await each.close();
  });

  it('is left with the first refusal when it has never answered', async () => {
    const each = await world([1, 4], { probes: true });
    each.fabric.refusing.add(addressOf(32));
    const after = await stream(each, 20);
    expect(after.filter((id) => id === 0)).toHaveLength(1);
    expect(after.at(-1)).toBeGreaterThan(32);
    await each.close();
  });

  it('that others say is gone is asked, and keeps its flows when it answers, however often they say so', async () => {
    const each = await world([1, 4], { probes: true });
    const { hop, net } = each.members.get(16)!;
    await stream(each, 150);
    for (let n = 0; n < 300; n++) {
      const { addresses } = net.pool;
      addresses.refused[0]++;
      addresses.refused[1 + hop.tables.row(32)]++;
      expect(await stream(each, 1)).toEqual([32]);
    }
    expect([await stream(each, 20), hop.takeNews()]).toEqual([Array(20).fill(32), undefined]);
    await each.close();
  });

  it('that is silent is left after three probes', async () => {
    const each = await world([1, 4], { probes: true });
    await stream(each, 250);
    each.fabric.silent.add(addressOf(32));
    const after = await stream(each, 600);
    const lost = after.lastIndexOf(0) + 1;
    expect(lost).toBeGreaterThan(250);
    expect(lost).toBeLessThanOrEqual(400);
    expect(after.slice(lost).every((id) => id > 32)).toBe(true);
    expect(each.members.get(16)!.hop.takeNews()).toEqual({ suspects: [{ replica: 32, evidence: 'silent' }] });
    each.fabric.silent.clear();
    expect((await stream(each, 200)).at(-1)).toBe(32);
    await each.close();
  });

  it('is used all the same when there is no other', async () => {
    const each = await world([1, 1], { probes: true });
    each.fabric.silent.add(addressOf(32));
    await stream(each, 600);
    each.fabric.silent.clear();
    expect(await stream(each, 5)).toEqual([32, 32, 32, 32, 32]);
    await each.close();
  });

  it('is not asked any more when nothing goes there', async () => {
    const each = await world([1, 1], { probes: true });
    await stream(each, 10);
    each.runtime.advance('10s');
    expect(each.members.get(16)!.hop.due[0]).toBe(Infinity);
    await each.close();
  });
});
