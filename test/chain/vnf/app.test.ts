import { describe, expect, it } from 'vitest';
import { VnfApp } from '../../../src/chain/vnf/app.ts';
import type { VnfContext, VnfPath } from '../../../src/chain/vnf/context.ts';
import { defineVnf, isVnf, type Verdict, type VnfFunction } from '../../../src/chain/vnf/define.ts';
import type { VnfFlow } from '../../../src/chain/vnf/flows.ts';
import { ChainHeader } from '../../../src/chain/wire/header.ts';
import { RETURN } from '../../../src/chain/wire/prefix.ts';
import { functions, replica } from '../../../src/chain/wire/tlv.ts';
import { PacketFlag } from '../../../src/native/binding.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import * as nsh from '../../../src/packet/nsh.ts';
import { Flag } from '../../../src/packet/tcp.ts';
import { testNetwork } from '../../../src/testing/network.ts';
import { inChain, type Sent, vnfWorld } from './world.ts';

const packet = udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 'hello' });
const run = <State>(does: VnfFunction<State>) => vnfWorld(new VnfApp('tested', does as VnfFunction));

/** What a prefix says. */
function read(prefix: Uint8Array) {
  const header = new ChainHeader();
  expect(header.read(prefix, 0, prefix.length, 'vxlan-gpe')).toBe(-1);
  const path = Array.from({ length: functions(prefix, header.path) }, (_, i) =>
    replica(prefix, header.path, i),
  );
  return {
    servicePath: nsh.servicePath(prefix, header.nsh),
    index: nsh.serviceIndex(prefix, header.nsh),
    ttl: nsh.ttl(prefix, header.nsh),
    family: header.family,
    path,
  };
}

/** As it comes to the function at a position of three. */
function atPosition(sent: Sent, position: number, ttl = 60): Sent {
  const header = new ChainHeader();
  header.read(sent.prefix!, 0, sent.prefix!.length, 'vxlan-gpe');
  nsh.setServiceIndex(sent.prefix!, header.nsh, 255 - position);
  nsh.setTtl(sent.prefix!, header.nsh, ttl);
  return sent;
}

describe('a packet that has grown', () => {
  const grown = async () => {
    const world = await run({
      process: ({ payload }) => {
        payload.resize(payload.length + 20);
        return 'forward';
      },
    });
    world.vnf.room = 1472;
    return world;
  };
  const of = (length: number, dontFragment = true) =>
    inChain(udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload: length - 28, dontFragment }));
  const prefix = of(100).prefix!.length;
  const fits = 1472 - prefix - 20;

  it('goes on as long as it fits; else it is dropped, and its sender is told what fits', async () => {
    await using world = await grown();
    expect(world.pass(of(fits))).toMatchObject([{ bytes: { length: 1472 - prefix } }]);
    const sent = of(fits + 1);
    const [answer] = world.pass(atPosition(sent, 1));
    expect(world.drops()).toEqual({ 'too-big-for-path': 1 });
    // Destination unreachable, fragmentation needed, from where it was going.
    expect([...answer!.bytes.subarray(20, 22), (answer!.bytes[26]! << 8) | answer!.bytes[27]!]).toEqual([
      ...[3, 4],
      fits,
    ]);
    expect([...answer!.bytes.subarray(12, 20)]).toEqual([10, 0, 0, 2, 10, 0, 0, 1]);
    // Back from here: the next is the function in front of this one.
    expect(read(answer!.prefix)).toMatchObject({ servicePath: RETURN | 7, index: 254, family: 4 });
    // What does as it was told passes.
    expect(world.pass(of(fits))).toHaveLength(1);
  });

  it('is fragmented outside where it may be, and is not looked at when it was as long before', async () => {
    await using world = await grown();
    const flags: number[] = [];
    world.port.onPacket = (pool, packet) => flags.push(pool.flags[packet]);
    expect(world.pass(of(fits + 1, false))).toHaveLength(1);
    expect(flags).toEqual([PacketFlag.MayFragment]);
    await using same = await run({ process: () => 'forward' });
    same.vnf.room = 1000;
    expect(same.pass(of(1400))).toHaveLength(1);
  });

  it('over IPv6 is answered, too', async () => {
    await using world = await grown();
    const packet = udpPacket({ from: '[fd00::1]:1', to: '[fd00::2]:2', payload: fits - 47 });
    const [answer] = world.pass(inChain(packet));
    const { bytes } = answer!;
    expect([bytes[6], bytes[40], (bytes[46]! << 8) | bytes[47]!]).toEqual([58, 2, fits]);
    expect(read(answer!.prefix).family).toBe(6);
  });
});

describe('verdicts', () => {
  it('forward leaves packet and prefix as they are; drop is counted by its reason', async () => {
    await using world = await run({
      process: ({ udp }, _flow, ctx) =>
        udp === undefined ? 'drop' : udp.destinationPort === 23 ? ctx.drop('telnet') : 'forward',
    });
    const sent = inChain(packet);
    const came = world.pass(
      sent,
      inChain(udpPacket({ to: '10.0.0.2:23' })),
      inChain(icmpEcho({ to: '10.0.0.2' })),
    );
    expect(came).toMatchObject([{ bytes: packet, prefix: sent.prefix }]);
    expect(world.drops()).toEqual({ 'vnf-telnet': 1, 'vnf-drop': 1 });
  });

  it.each([
    [0, 253],
    [1, 254],
    [2, 255],
  ])('a reply at position %i goes to the function in front of it', async (position, index) => {
    await using world = await run({
      process: (packet) => {
        packet.swapEnds();
        packet.payload.splice(0, packet.payload.length, new TextEncoder().encode('no'));
        return 'reply';
      },
    });
    const sent = atPosition(inChain(packet), position);
    const [came] = world.pass({ ...sent, shared: true });
    // The hop takes one off, and sends to the next.
    expect(read(came.prefix)).toMatchObject({ servicePath: 7 + RETURN, index, ttl: 60, path: [49, 33, 17] });
    expect(came.bytes).toEqual(udpPacket({ from: '10.0.0.2:53', to: '10.0.0.1:1000', payload: 'no' }));
    expect(world.port.sharedBytes(world.net.pool)).toEqual([packet]);
    // And back again it is on the way there.
    const [again] = world.pass({ prefix: came.prefix, bytes: came.bytes });
    expect(read(again.prefix)).toMatchObject({ servicePath: 7, path: [17, 33, 49] });
    world.port.close();
  });

  it('what throws, and what answers nothing of use, costs that packet and is reported once in a second', async () => {
    let what: () => unknown = () => 'forward';
    await using world = await run({ process: () => what() as Verdict });
    const throwing = () => {
      throw new Error('it broke');
    };
    for (const next of [throwing, throwing, () => undefined, async () => 'forward']) {
      what = next;
      expect(world.pass(inChain(packet))).toEqual([]);
    }
    world.runtime.advance('1s');
    what = throwing;
    world.pass(inChain(packet));
    what = () => 'forward';
    expect(world.pass(inChain(packet))).toHaveLength(1);
    expect(world.drops()).toEqual({ 'vnf-error': 3, 'vnf-verdict': 2 });
    expect(world.events).toMatchObject([
      { type: 'vnf-error', function: 'tested', message: 'it broke', errors: 1 },
      { type: 'vnf-error', message: 'it broke', errors: 4 },
    ]);
    expect(world.vnf.report()).toMatchObject({ packets: 6, errors: 5 });
  });

  it('packets that cannot be read do not come to the function', async () => {
    await using world = await run({ process: () => 'forward' });
    const short = packet.slice(0, 30);
    const bad = inChain(packet);
    bad.prefix![9] = 0;
    expect(world.pass(inChain(short), inChain(Uint8Array.of(0x60)), bad)).toEqual([]);
    expect(world.drops()).toMatchObject({ malformed: 2 });
    expect(world.vnf.report()).toMatchObject({ packets: 0 });
  });
});

describe('packets that are held', () => {
  it('wait for their ticket, at most so many and so long', async () => {
    const tickets: number[] = [];
    let ctx!: VnfContext;
    await using world = await run({
      hold: { packets: 3, time: '100ms' },
      process: ({ payload }, _flow, given) => {
        ctx = given;
        if (payload.length !== 5) return 'forward';
        tickets.push(ctx.ticket);
        return 'hold';
      },
    });
    const numbered = (n: number) => inChain(udpPacket({ to: `10.0.0.2:${n}`, payload: 'hello' }));
    expect(world.pass(numbered(1), numbered(2), numbered(3), numbered(4))).toEqual([]);
    expect(tickets).toEqual([expect.any(Number), expect.any(Number), expect.any(Number), -1]);
    expect(world.vnf.held()).toBe(3);
    ctx.timer('10ms', () => {
      expect([ctx.release(tickets[1]), ctx.release(tickets[1]), ctx.release(-1)]).toEqual([
        true,
        false,
        false,
      ]);
      expect(ctx.release(tickets[0], 'reply')).toBe(true);
    });
    world.runtime.advance('20ms');
    const [second, first] = world.port.received;
    expect(second.bytes).toEqual(numbered(2).bytes);
    expect(read(first.prefix).servicePath).toBe(7 + RETURN);
    world.runtime.advance('100ms');
    expect(world.vnf.held()).toBe(0);
    expect(world.port.received).toHaveLength(2);
    expect(world.drops()).toEqual({ 'vnf-hold-full': 1, 'vnf-hold-time': 1 });
  });

  it('and are given back when the network ends', async () => {
    const world = await run({ process: () => 'hold' });
    for (let i = 0; i < 200; i++) world.pass(inChain(packet, i));
    expect(world.vnf.held()).toBe(200);
    await world.net.close();
    expect(world.net.pool.live).toBe(0);
  });

  it('many, in any order, do not mix up', async () => {
    const waiting: { ticket: number; port: number }[] = [];
    const released: number[] = [];
    let ctx!: VnfContext;
    await using world = await run({
      hold: { packets: 50, time: '1h' },
      process: ({ udp }, _flow, given) => {
        ctx = given;
        if (ctx.ticket >= 0) waiting.push({ ticket: ctx.ticket, port: udp!.destinationPort });
        return ctx.ticket >= 0 ? 'hold' : 'drop';
      },
    });
    for (let i = 0; i < 3000; i++) {
      world.port.send(inChain(udpPacket({ to: `10.0.0.2:${i + 1}` }), i % 7));
      world.runtime.advance('1us');
      if (i % 3 === 0) continue;
      const [next] = waiting.splice((i * 7919) % waiting.length, 1);
      ctx.timer(0, () => {
        expect(ctx.release(next.ticket)).toBe(true);
        released.push(next.port);
      });
      world.runtime.advance('1us');
    }
    const ports = world.port.received.map(({ bytes }) => bytes[22] * 256 + bytes[23]);
    expect(ports).toEqual(released);
    expect(released.length).toBe(2000);
  });
});

describe('packets of its own', () => {
  it('go along with the packet in hand, or back, with checksums; later with a path that was kept', async () => {
    let path!: VnfPath;
    let ctx!: VnfContext;
    const blank = (bytes: Uint8Array) => {
      const copy = bytes.slice();
      copy[10] = copy[11] = 0;
      copy[26] = copy[27] = 0;
      return copy;
    };
    const own = udpPacket({ from: '10.0.0.9:7', to: '10.0.0.1:8', payload: 'own' });
    await using world = await run({
      process: (_packet, _flow, given) => {
        ctx = given;
        path = ctx.path();
        ctx.emit(blank(own), 'reply');
        ctx.emit(udpPacket({ to: '[fd00::1]:5' }));
        return 'forward';
      },
    });
    const sent = atPosition(inChain(packet), 1);
    const [reply, six, original] = world.pass(sent);
    expect(reply.bytes).toEqual(own);
    expect(read(reply.prefix)).toMatchObject({
      servicePath: 7 + RETURN,
      index: 254,
      path: [49, 33, 17],
      family: 4,
    });
    expect(read(six.prefix)).toMatchObject({ servicePath: 7, index: 254, family: 6 });
    expect(original).toMatchObject({ bytes: packet, prefix: sent.prefix });
    ctx.timer('1ms', () => ctx.emit(own, 'forward', path));
    ctx.timer('2ms', () => ctx.emit(own));
    world.runtime.advance('3ms');
    expect(world.port.received.slice(3)).toMatchObject([{ bytes: own, prefix: sent.prefix }]);
    expect(world.events).toMatchObject([
      { type: 'vnf-error', message: 'there is no packet in hand; give a path' },
    ]);
    expect(world.vnf.report()).toMatchObject({ emitted: 3 });
  });

  it('more than there is room for are refused, and counted nowhere as lost', async () => {
    let sent = 0;
    await using world = await run({
      process: (_packet, _flow, ctx) => {
        while (ctx.emit(packet)) sent++;
        return 'drop';
      },
    });
    expect(world.pass(inChain(packet)).length).toBe(sent);
    expect(sent).toBeGreaterThan(500);
    expect(world.drops()).toEqual({ 'vnf-drop': 1 });
  });

  it('that are no packets are a mistake of the function', async () => {
    await using world = await run({
      process: (_packet, _flow, ctx) => {
        ctx.emit(new Uint8Array(10));
        return 'forward';
      },
    });
    expect(world.pass(inChain(packet))).toEqual([]);
    expect(world.drops()).toEqual({ 'vnf-error': 1 });
  });
});

describe('flows', () => {
  it('are one in both directions, with a state of their own, until they are silent', async () => {
    const ended: unknown[] = [];
    const seen: unknown[] = [];
    await using world = await run({
      idle: '10s',
      state: ({ id }) => ({ id, packets: 0 }),
      process: (_packet, flow: VnfFlow<{ id: string; packets: number }>) => {
        flow.state.packets++;
        seen.push([flow.direction, flow.state.packets, flow.isNew]);
        return 'forward';
      },
      flowEnded: (state) => void ended.push(state),
    });
    world.pass(inChain(packet), inChain(packet, 2));
    world.runtime.advance('8s');
    world.pass(inChain(packet, 1, { servicePath: 7 + RETURN }));
    expect(seen).toEqual([
      ['there', 1, true],
      ['there', 1, true],
      ['back', 2, false],
    ]);
    world.runtime.advance('4s');
    expect(ended).toEqual([{ id: '0000000700000002', packets: 1 }]);
    expect(world.vnf.report()).toMatchObject({ flows: 1 });
    world.runtime.advance('10s');
    expect(world.vnf.report()).toMatchObject({ flows: 0, evicted: 0 });
  });

  it('are bounded: the one silent longest goes', async () => {
    await using world = await run({ flows: 100, state: () => 1, process: () => 'forward' });
    for (let i = 0; i < 1000; i++) world.pass(inChain(packet, i));
    expect(world.vnf.report()).toMatchObject({ flows: 100 });
    expect(world.vnf.exportFlows().map(({ id }) => id)).toContain('00000007000003e7');
  });

  it.each([
    ['a SYN', tcpPacket({ to: '10.0.0.2:80', flags: Flag.Syn }), {}, false],
    ['TCP without SYN', tcpPacket({ to: '10.0.0.2:80', flags: Flag.Ack }), {}, true],
    ['a SYN and ACK', tcpPacket({ to: '10.0.0.2:80', flags: Flag.Syn | Flag.Ack }), {}, true],
    ['UDP', packet, {}, false],
    ['UDP on a path that was mended', packet, { generation: 2 }, true],
    ['UDP on the way back', packet, { servicePath: 7 + RETURN }, true],
  ])('begin in the middle, by their first packet: %s', async (_name, bytes, fields, expected) => {
    const seen: boolean[] = [];
    await using world = await run({
      process: (_packet, { midstream }) => {
        seen.push(midstream);
        return 'forward';
      },
    });
    world.pass(inChain(bytes, 1, fields), inChain(bytes, 1, { generation: 9 }));
    expect(seen).toEqual([expected, expected]);
  });

  it('without a chain are told by their addresses, from who sends first', async () => {
    const seen: unknown[] = [];
    const app = new VnfApp('tested', {
      state: () => seen.length,
      process: (_packet, { direction, state, id }) => {
        seen.push([direction, state, id]);
        return 'forward';
      },
    });
    await using world = await testNetwork().between(app);
    world.a.send(packet);
    world.a.send(udpPacket({ from: '10.0.0.2:53', to: '10.0.0.1:1000' }));
    world.a.send(udpPacket({ from: '10.0.0.2:53', to: '10.0.0.1:1001' }));
    world.runtime.advance('1ms');
    expect(world.b.received).toHaveLength(3);
    const [[, , one]] = seen as [string, number, string][];
    expect(seen).toEqual([
      ['there', 0, one],
      ['back', 0, one],
      ['there', 2, expect.any(String)],
    ]);
  });
});

describe('state', () => {
  it('goes from one runtime to another as JSON, ages and order and all', async () => {
    const make = (): VnfFunction<Set<number>> => {
      let total = 0;
      return {
        flows: 3,
        idle: '10s',
        state: () => new Set<number>(),
        process: ({ udp }, flow, ctx) => {
          total++;
          flow.state.add(udp!.destinationPort);
          ctx.count('ports', flow.state.size);
          return 'forward';
        },
        exportState: () => ({ total }),
        importState: (value) => void ({ total } = value as { total: number }),
        exportFlow: (state) => [...state],
        importFlow: (value) => new Set(value as number[]),
      };
    };
    await using first = await run(make());
    first.pass(inChain(packet, 1));
    first.runtime.advance('6s');
    first.pass(inChain(packet, 2, { generation: 5 }), inChain(udpPacket({ to: '10.0.0.2:7' }), 2));
    const exported = JSON.parse(JSON.stringify(first.vnf.exportState()));
    expect(exported).toMatchObject({
      name: 'tested',
      state: { total: 3 },
      flows: [
        { id: '0000000700000002', midstream: true, state: [53, 7] },
        { id: '0000000700000001', midstream: false, state: [53] },
      ],
    });
    const app = new VnfApp('tested', make() as VnfFunction);
    app.importState(exported);
    await using second = await vnfWorld(app);
    expect(second.vnf.exportState()).toMatchObject({
      ...exported,
      flows: [{ id: exported.flows[0].id }, {}],
    });
    second.pass(inChain(udpPacket({ to: '10.0.0.2:9' }), 2));
    expect(second.vnf.report()).toMatchObject({ 'count.ports': 3, flows: 2 });
    // The other was silent for 6 s already.
    second.runtime.advance('5s');
    expect(second.vnf.report()).toMatchObject({ flows: 1 });
    expect(() => second.vnf.importState({ name: 'other', flows: [] })).toThrow('state of the function other');
  });

  it('of flows that had a packet since', async () => {
    await using world = await run({ process: () => 'forward' });
    world.pass(inChain(packet, 1), inChain(packet, 2), inChain(packet, 3));
    const now = world.runtime.now();
    world.pass(inChain(packet, 2));
    expect(world.vnf.exportFlows(now).map(({ id }) => id)).toEqual(['0000000700000002']);
    expect(world.vnf.exportFlows(0, 2)).toHaveLength(2);
  });
});

describe('timers, draws and notes', () => {
  it('timers run at their time and can be cancelled; notes are ten in a second', async () => {
    const at: number[] = [];
    await using world = await run({
      open: (ctx) => {
        ctx.timer('2ms', () => at.push(ctx.time));
        ctx.timer('3ms', () => at.push(0))();
        ctx.timer('1ms', () => {
          at.push(ctx.time);
          for (let i = 0; i < 30; i++) ctx.note(`note ${i}`);
          ctx.timer('4ms', () => at.push(ctx.time));
        });
      },
      process: () => 'forward',
    });
    world.runtime.advance('20ms');
    expect(at).toEqual([1_000_000, 2_000_000, 5_000_000]);
    expect(world.events).toHaveLength(10);
    expect(world.events[0]).toEqual({ type: 'vnf-note', function: 'tested', text: 'note 0' });
  });

  it('draws are the same with the same seed', async () => {
    const draws: number[] = [];
    for (const seed of [5, 5, 6]) {
      const app = new VnfApp('tested', {
        process: (_packet, _flow, ctx) => {
          draws.push(ctx.random.u32());
          return 'forward';
        },
      });
      await using world = await vnfWorld(app, { seed });
      world.pass(inChain(packet));
    }
    expect(draws[0]).toBe(draws[1]);
    expect(draws[2]).not.toBe(draws[0]);
  });
});

describe('a definition', () => {
  it('that is none says what is wrong', () => {
    expect(() => defineVnf({ name: 'No Name', process: () => 'drop' })).toThrow(
      'found "No Name", expected lower case words joined by hyphens',
    );
    expect(() => defineVnf({ name: 'empty' } as never)).toThrow('the function empty: expected "process"');
    const plain = defineVnf({ name: 'plain', process: () => 'drop' });
    expect(() => plain.check({ port: 3 })).toThrow('found the unknown key "port"');
    expect([isVnf(plain), isVnf(() => 1)]).toEqual([true, false]);
  });
});
