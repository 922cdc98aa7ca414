import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import * as functions from '../../../src/chain/functions/index.ts';
import { RETURN } from '../../../src/chain/wire/prefix.ts';
import { parseIp } from '../../../src/packet/address.ts';
import { icmpEcho, ipPacket, tcpPacket, udpPacket } from '../../../src/packet/build.ts';
import { readCapture } from '../../../src/packet/capture-reader.ts';
import { dscp, ttl } from '../../../src/packet/ipv4.ts';
import { Flag } from '../../../src/packet/tcp.ts';
import { inChain, type Sent, type VnfWorld, vnfWorld, wrongs } from '../vnf/world.ts';

const CLIENT = '10.0.0.1:1000';
const SERVER = '10.0.0.2:80';
const there = (bytes: Uint8Array, flow = 1) => inChain(bytes, flow);
const back = (bytes: Uint8Array, flow = 1) => inChain(bytes, flow, { servicePath: 7 + RETURN });
const tcpThere = (flags: number, payload = '', sequence = 0, flow = 1) =>
  there(tcpPacket({ from: CLIENT, to: SERVER, flags, payload, sequence }), flow);
const tcpBack = (flags: number, payload = '', sequence = 0, flow = 1) =>
  back(tcpPacket({ from: SERVER, to: CLIENT, flags, payload, sequence }), flow);
const { Syn, Ack, Fin, Rst } = Flag;

/** An ICMP error about a packet, from a router on the way. */
function error(about: Uint8Array, to: string): Uint8Array {
  const transport = new Uint8Array(8 + Math.min(about.length, 100));
  transport[0] = 3;
  transport[1] = 1;
  transport.set(about.slice(0, transport.length - 8), 8);
  return ipPacket({ from: parseIp('10.9.9.9'), to: parseIp(to), protocol: 1, transport });
}

const passes = (world: VnfWorld, sent: Sent) => world.pass(sent).length === 1;
const report = (world: VnfWorld) => world.vnf.report();

describe('pass and counter', () => {
  it('pass leaves everything as it is', async () => {
    await using world = await vnfWorld(functions.pass({}));
    const sent = tcpThere(Syn);
    expect(world.pass(sent)).toMatchObject([{ bytes: sent.bytes, prefix: sent.prefix }]);
  });

  it('counter counts packets, bytes and flows, each way', async () => {
    await using world = await vnfWorld(functions.counter({}));
    world.pass(tcpThere(Syn), tcpThere(Ack), tcpThere(Syn, '', 0, 2), tcpBack(Syn | Ack));
    expect(report(world)).toMatchObject({
      ...{ 'count.flows': 2, 'count.there.packets': 3, 'count.there.bytes': 120 },
      ...{ 'count.back.packets': 1, 'count.back.bytes': 40 },
    });
    expect(world.vnf.exportFlows().map(({ state }) => state)).toContainEqual([2, 80, 1, 40]);
  });
});

describe('rewrite', () => {
  it('writes addresses there, and puts them back in replies and in the errors of routers', async () => {
    await using world = await vnfWorld(
      functions.rewrite({
        match: '10.0.0.2:tcp:80',
        source: '192.0.2.1',
        destination: '192.0.2.9:8080',
        dscp: 'ef',
      }),
    );
    const [out] = world.pass(tcpThere(Syn, 'x'));
    const changed = tcpPacket({
      from: '192.0.2.1:1000',
      to: '192.0.2.9:8080',
      flags: Syn,
      payload: 'x',
      dscp: 46,
    });
    expect(out.bytes).toEqual(changed);
    const [reply] = world.pass(
      back(tcpPacket({ from: '192.0.2.9:8080', to: '192.0.2.1:1000', flags: Syn | Ack })),
    );
    expect(reply.bytes).toEqual(tcpPacket({ from: SERVER, to: CLIENT, flags: Syn | Ack, dscp: 46 }));
    const [about] = world.pass(back(error(changed, '192.0.2.1')));
    expect(wrongs(about.bytes)).toEqual([]);
    expect(about.bytes.slice(16, 20)).toEqual(Uint8Array.of(10, 0, 0, 1));
    expect(about.bytes.slice(28 + 12, 28 + 24)).toEqual(tcpThere(Syn).bytes.slice(12, 24));
    // Not this one's business.
    const other = udpPacket({ from: CLIENT, to: '10.0.0.2:53' });
    expect(world.pass(there(other, 2))[0].bytes).toEqual(other);
  });

  it('writes TTL and DSCP of one direction', async () => {
    await using world = await vnfWorld(functions.rewrite({ ttl: 3, dscp: 10, direction: 'back' }));
    const [one, two] = world.pass(tcpThere(Syn), tcpBack(Syn | Ack));
    expect([ttl(one.bytes, 0), dscp(one.bytes, 0), ttl(two.bytes, 0), dscp(two.bytes, 0)]).toEqual([
      64, 0, 3, 10,
    ]);
    expect(wrongs(two.bytes)).toEqual([]);
  });

  it('goes on with what it knew of flows', async () => {
    await using first = await vnfWorld(functions.rewrite({ destination: '192.0.2.9' }));
    first.pass(tcpThere(Syn));
    await using second = await vnfWorld(functions.rewrite({ destination: '192.0.2.9' }));
    second.vnf.importState(JSON.parse(JSON.stringify(first.vnf.exportState())));
    const [reply] = second.pass(back(tcpPacket({ from: '192.0.2.9:80', to: CLIENT, flags: Ack })));
    expect(reply.bytes).toEqual(tcpPacket({ from: SERVER, to: CLIENT, flags: Ack }));
  });
});

describe('rate-limit', () => {
  const packet = (flow: number) => there(udpPacket({ to: SERVER, payload: 972 }), flow);

  it('lets as many bits through as the rate has, after what may come at once', async () => {
    await using world = await vnfWorld(functions.rateLimit({ rate: '8mbit', burst: '10ms' }));
    // 1000 bytes are 1 ms.
    for (let i = 0; i < 50; i++) world.port.send(packet(i));
    world.runtime.advance('1us');
    expect(world.port.received).toHaveLength(10);
    for (let ms = 0; ms < 1000; ms++) {
      world.port.send(packet(ms), packet(ms), packet(ms));
      world.runtime.advance('1ms');
    }
    expect(world.port.received).toHaveLength(1009);
    expect(world.drops()).toEqual({ 'vnf-rate': 40 + 2001 });
  });

  it('each flow has its own, each direction too, and keeps it over a reload', async () => {
    const make = () => vnfWorld(functions.rateLimit({ perFlow: 8_000_000, burst: '5ms' }));
    await using world = await make();
    world.port.send(...Array(20).fill(packet(1)), ...Array(20).fill(packet(2)));
    world.port.send(...Array(20).fill(back(udpPacket({ to: CLIENT, payload: 972 }))));
    world.runtime.advance('1us');
    expect(world.port.received).toHaveLength(15);
    await using second = await make();
    second.runtime.advance('1s');
    second.vnf.importState(JSON.parse(JSON.stringify(world.vnf.exportState())));
    second.port.send(...Array(20).fill(packet(1)), ...Array(20).fill(packet(3)));
    second.runtime.advance('1us');
    expect(second.port.received).toHaveLength(5);
  });

  it('is exact: no nanosecond is lost at an odd rate', async () => {
    await using world = await vnfWorld(functions.rateLimit({ rate: 7_777_777, burst: '1ms' }));
    for (let i = 0; i < 20_000; i++) {
      world.port.send(there(udpPacket({ to: SERVER, payload: 72 })));
      world.runtime.advance('20us');
    }
    // 800 bits each, and 1 ms at once.
    const exact = (7_777_777 * 0.401) / 800;
    expect(world.port.received.length).toBeGreaterThanOrEqual(Math.floor(exact) - 1);
    expect(world.port.received.length).toBeLessThanOrEqual(Math.ceil(exact));
  });
});

describe('match', () => {
  it('finds bytes across segments, whatever comes twice, and blocks the flow in both directions', async () => {
    await using world = await vnfWorld(functions.match({ pattern: ['hex:de ad', 'evil'] }));
    expect(passes(world, tcpThere(Syn, '', 99))).toBe(true);
    expect(passes(world, tcpThere(Ack, 'an ev', 100))).toBe(true);
    expect(passes(world, tcpThere(Ack, 'an ev', 100))).toBe(true);
    expect(passes(world, tcpThere(Ack, 'evil', 100, 2))).toBe(false);
    expect(passes(world, tcpThere(Ack, 'evi', 103))).toBe(true);
    expect(passes(world, tcpThere(Ack, 'l!', 106))).toBe(false);
    expect([passes(world, tcpThere(Ack, 'x', 108)), passes(world, tcpBack(Ack))]).toEqual([false, false]);
    expect(passes(world, tcpThere(Syn, '', 0, 3))).toBe(true);
    expect(report(world)).toMatchObject({ 'count.pattern.1': 2 });
    expect(world.events).toMatchObject([
      { type: 'vnf-note', text: 'evil in flow 0000000700000002' },
      { text: 'evil in flow 0000000700000001' },
    ]);
  });

  it('an early segment passes unsearched, or waits for its turn', async () => {
    await using lax = await vnfWorld(functions.match({ pattern: 'evil' }));
    await using strict = await vnfWorld(functions.match({ pattern: 'evil', strict: 'true' }));
    for (const world of [lax, strict]) world.pass(tcpThere(Syn, '', 99), tcpThere(Ack, 'ab', 100));
    expect([lax, strict].map((world) => passes(world, tcpThere(Ack, 'vil', 103)))).toEqual([true, false]);
    expect([lax, strict].map((world) => passes(world, tcpThere(Ack, 'e', 102)))).toEqual([true, true]);
    expect([lax, strict].map((world) => passes(world, tcpThere(Ack, 'vil', 103)))).toEqual([false, false]);
    expect(strict.drops()).toEqual({ 'vnf-early': 1, 'vnf-match': 1 });
  });

  it('drops the packet alone, also when it is sent again; marks; counts; stops at its limit', async () => {
    await using drop = await vnfWorld(functions.match({ pattern: 'evil', action: 'drop' }));
    const list = ['ev', 'il', 'il', 'fine'].map((text, i) => tcpThere(Ack, text, [100, 102, 102, 104][i]));
    expect(list.map((sent) => passes(drop, sent))).toEqual([true, false, true, true]);
    await using mark = await vnfWorld(functions.match({ pattern: 'evil', action: 'mark', dscp: 'cs1' }));
    const marks = ['a', 'evil', 'b'].map(
      (text) => mark.pass(there(udpPacket({ to: SERVER, payload: text })))[0],
    );
    expect(marks.map(({ bytes }) => dscp(bytes, 0))).toEqual([0, 8, 8]);
    await using count = await vnfWorld(functions.match({ pattern: 'evil', action: 'count', limit: 6 }));
    for (const text of ['evil', 'xxevil'])
      expect(passes(count, there(udpPacket({ to: SERVER, payload: text })))).toBe(true);
    expect(report(count)).toMatchObject({ 'count.pattern.0': 1 });
  });

  it('looks at the flows that it is for', async () => {
    await using world = await vnfWorld(
      functions.match({ pattern: 'evil', match: '*:udp:53', direction: 'back' }),
    );
    const dns = (text: string) => udpPacket({ from: CLIENT, to: '10.0.0.2:53', payload: text });
    const answer = (text: string) => udpPacket({ from: '10.0.0.2:53', to: CLIENT, payload: text });
    expect(passes(world, there(dns('evil')))).toBe(true);
    expect(passes(world, back(answer('evil')))).toBe(false);
    expect(passes(world, tcpThere(Ack, 'evil', 1, 2))).toBe(true);
    expect(passes(world, tcpBack(Ack, 'evil', 1, 2))).toBe(true);
  });

  it('patterns of which one is within another, and all that overlap, are found as a plain search finds them', async () => {
    const { PatternSearch } = await import('../../../src/chain/functions/patterns.ts');
    const texts = ['abcab', 'cab', 'b', 'abd', 'ca'];
    const search = new PatternSearch(texts.map((text) => new TextEncoder().encode(text)));
    let seed = 5;
    const letters = Array.from(
      { length: 5000 },
      () => 'abcd'[((seed = (seed * 1103515245 + 12345) & 0x7fffffff) >> 16) & 3],
    );
    let state = PatternSearch.START;
    for (const [i, letter] of letters.entries()) {
      state = search.step(state, letter.charCodeAt(0));
      const upTo = letters.slice(Math.max(0, i - 5), i + 1).join('');
      expect(search.found(state)).toBe(texts.findIndex((text) => upTo.endsWith(text)));
    }
  });
});

describe('mirror', () => {
  it('copies what it is for into a capture, and adds to it when it begins anew', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'mirror-'));
    const file = path.join(folder, 'copy.pcapng');
    try {
      const sent = [tcpThere(Syn), tcpBack(Syn | Ack), there(udpPacket({ to: '10.0.0.2:53' }), 2)];
      for (const options of [
        {},
        { match: '*:udp' },
        { count: 1 },
        { direction: 'back' as const, snapLength: 64 },
      ]) {
        await using world = await vnfWorld(functions.mirror({ file, ...options }));
        expect(world.pass(...sent)).toHaveLength(3);
      }
      const written: Uint8Array[] = [];
      for await (const { bytes } of readCapture([readFileSync(file)])) written.push(Uint8Array.from(bytes));
      expect(written).toEqual([...sent, sent[2], sent[0], sent[1]].map(({ bytes }) => bytes));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('a file that cannot be made is an error at once', async () => {
    await expect(vnfWorld(functions.mirror({ file: '/nowhere/at/all.pcapng' }))).rejects.toThrow(
      '/nowhere/at/all.pcapng cannot be written (ENOENT)',
    );
  });
});

describe('balance', () => {
  const backend = ['192.0.2.1:8080', '192.0.2.2:8080 weight 2', '192.0.2.3'];
  const options = { match: '10.0.0.2:tcp:80', backend };
  const target = (bytes: Uint8Array) => `${bytes[19]}:${bytes[22] * 256 + bytes[23]}`;

  it('spreads flows by weight; each stays where it is, and hears from the address that it called', async () => {
    await using world = await vnfWorld(functions.balance(options));
    const shares: Record<string, number> = {};
    for (let flow = 1; flow <= 3000; flow++) {
      const [one] = world.pass(tcpThere(Syn, '', 0, flow));
      const [two] = world.pass(tcpThere(Ack, '', 1, flow));
      expect(target(two.bytes)).toBe(target(one.bytes));
      shares[target(one.bytes)] = (shares[target(one.bytes)] ?? 0) + 1;
    }
    // 0.25, 0.5 and 0.25 of 3000 with five standard deviations.
    expect(shares['1:8080']).toBeGreaterThan(750 - 5 * 24);
    expect(shares['1:8080']).toBeLessThan(750 + 5 * 24);
    expect(shares['2:8080']).toBeGreaterThan(1500 - 5 * 28);
    expect(shares['3:80']).toBeGreaterThan(750 - 5 * 24);
    const [out] = world.pass(tcpThere(Ack, '', 1, 5));
    expect(wrongs(out.bytes)).toEqual([]);
    const from = `192.0.2.${out.bytes[19]}:${out.bytes[22] * 256 + out.bytes[23]}`;
    const [reply] = world.pass(back(tcpPacket({ from, to: CLIENT, flags: Ack }), 5));
    expect(reply.bytes).toEqual(tcpPacket({ from: SERVER, to: CLIENT, flags: Ack }));
    const other = udpPacket({ to: '10.0.0.2:53' });
    expect(world.pass(there(other, 9999))[0].bytes).toEqual(other);
  });

  it('flows that were forgotten draw the same; those of a back-end that is gone move, and no others', async () => {
    const draw = async (list: string[], from?: VnfWorld) => {
      const world = await vnfWorld(functions.balance({ ...options, backend: list }));
      if (from) world.vnf.importState(JSON.parse(JSON.stringify(from.vnf.exportState())));
      const targets = Array.from({ length: 300 }, (_, flow) =>
        target(world.pass(tcpThere(Syn, '', 0, flow))[0].bytes),
      );
      return { world, targets };
    };
    const first = await draw(backend);
    const again = await draw(backend);
    const fewer = await draw(backend.slice(0, 2), first.world);
    expect(again.targets).toEqual(first.targets);
    for (const [flow, was] of first.targets.entries()) {
      if (was !== '3:80') expect(fewer.targets[flow]).toBe(was);
      else expect(fewer.targets[flow]).not.toBe(was);
    }
    expect(report(fewer.world)['count.moved']).toBe(first.targets.filter((each) => each === '3:80').length);
    for (const { world } of [first, again, fewer]) await world.net.close();
  });
});

describe('firewall', () => {
  const rule = ['allow 10.0.0.0/24 -> *:tcp:80', 'deny *:udp:53', 'allow *:udp', 'allow *:icmp'];
  const make = (more: object = {}) => vnfWorld(functions.firewall({ rule, ...more }));

  it('lets connections open there, and what belongs to them back, and nothing else', async () => {
    await using world = await make();
    const steps: [Sent, boolean][] = [
      [tcpBack(Ack, '', 0, 9), true], // in the middle: rules decide, seen from who opened it
      [tcpThere(Ack, '', 0, 1), true],
      [tcpThere(Syn, '', 0, 2), true],
      [tcpThere(Ack, 'too early', 0, 2), false],
      [tcpBack(Ack, '', 0, 2), false],
      [tcpThere(Syn, '', 0, 2), true],
      [tcpBack(Syn | Ack, '', 0, 2), true],
      [tcpThere(Ack, 'data', 0, 2), true],
      [tcpBack(Ack, 'data', 0, 2), true],
      [tcpThere(Fin | Ack, '', 0, 2), true],
      [tcpBack(Fin | Ack, '', 0, 2), true],
      [tcpThere(Ack, '', 0, 2), true],
      [tcpThere(Syn, '', 0, 2), true],
      [tcpBack(Rst | Ack, '', 0, 2), true],
      [tcpThere(Ack, '', 0, 2), false],
      [tcpThere(Syn, '', 0, 2), true],
      [there(tcpPacket({ to: '10.0.0.2:22', flags: Syn }), 3), false],
      [back(tcpPacket({ from: '10.0.0.2:22', to: CLIENT, flags: Syn | Ack }), 3), false],
      [there(tcpPacket({ from: '10.0.1.1:5', to: SERVER, flags: Syn }), 4), false],
      [there(udpPacket({ to: '10.0.0.2:53' }), 5), false],
      [there(udpPacket({ from: CLIENT, to: '10.0.0.2:99' }), 6), true],
      [back(udpPacket({ from: '10.0.0.2:99', to: CLIENT }), 6), true],
    ];
    for (const [i, [sent, expected]] of steps.entries())
      expect([i, passes(world, sent)]).toEqual([i, expected]);
    expect(world.drops()).toEqual({ 'vnf-not-open': 2, 'vnf-closed': 1, 'vnf-denied': 4 });
    expect(report(world)).toMatchObject({
      'count.rule.0': 5,
      'count.rule.1': 1,
      'count.rule.2': 1,
      'count.default': 2,
    });
  });

  it('does not take up what it did not see begin, if it is told so', async () => {
    await using world = await make({ midstream: 'deny' });
    expect([tcpThere(Ack), tcpBack(Syn | Ack, '', 0, 2)].map((sent) => passes(world, sent))).toEqual([
      false,
      false,
    ]);
    // The same ports, opened anew.
    expect(passes(world, tcpThere(Syn, '', 0, 3))).toBe(true);
  });

  it.each([['rules'], ['deny']])(
    'lets a connection go on whose answer went past it during an edit: %s',
    async (midstream) => {
      await using world = await make({ midstream });
      const ack = tcpPacket({ from: CLIENT, to: SERVER, flags: Ack, payload: 'data' });
      const passesWith = (revision: number) => passes(world, inChain(ack, 1, { revision }));
      expect(
        passes(world, inChain(tcpPacket({ from: CLIENT, to: SERVER, flags: Syn }), 1, { revision: 4 })),
      ).toBe(true);
      expect(passesWith(4)).toBe(false);
      // In revision 5 the chain was without it.
      expect(passesWith(6)).toBe(midstream === 'rules');
      // Late.
      expect(passesWith(4)).toBe(midstream === 'rules');
    },
  );

  it('echoes are answered, and errors pass that are about a flow that is allowed', async () => {
    await using world = await make();
    const echo = (reply: boolean) =>
      icmpEcho({ from: reply ? '10.0.0.2' : '10.0.0.1', to: reply ? '10.0.0.1' : '10.0.0.2', reply });
    expect(passes(world, there(echo(false)))).toBe(true);
    expect(passes(world, back(echo(true)))).toBe(true);
    expect(passes(world, back(echo(false)))).toBe(false);
    expect(passes(world, there(echo(true), 2))).toBe(false);
    expect(passes(world, back(error(echo(false), '10.0.0.1')))).toBe(true);
    expect(passes(world, back(error(tcpThere(Syn).bytes, '10.0.0.1'), 3))).toBe(false);
    expect(passes(world, there(udpPacket({ to: '10.0.0.2:53' }), 4))).toBe(false);
    expect(passes(world, back(error(udpPacket({ to: '10.0.0.2:53' }), '10.0.0.1'), 4))).toBe(false);
    expect(world.drops()).toMatchObject({ 'vnf-unrelated': 2, 'vnf-no-flow': 2 });
  });

  it('goes on where another one was', async () => {
    await using first = await make();
    first.pass(tcpThere(Syn), tcpBack(Syn | Ack), tcpThere(Syn, '', 0, 2));
    await using second = await make({ midstream: 'deny' });
    second.vnf.importState(JSON.parse(JSON.stringify(first.vnf.exportState())));
    expect([tcpBack(Ack), tcpThere(Ack, '', 0, 2)].map((sent) => passes(second, sent))).toEqual([
      true,
      false,
    ]);
  });

  it('default allow lets through what no rule is for', async () => {
    await using world = await vnfWorld(functions.firewall({ rule: 'deny *:tcp:22', default: 'allow' }));
    expect(passes(world, tcpThere(Syn))).toBe(true);
    expect(passes(world, there(tcpPacket({ to: '10.0.0.2:22', flags: Syn }), 2))).toBe(false);
  });
});

describe('nat', () => {
  it('gives flows there an address outside, and replies go back to who asked; also after a reload', async () => {
    const options = { addresses: ['192.0.2.7'] };
    await using first = await vnfWorld(functions.natFunction(options));
    const sent = tcpThere(Syn);
    const [out] = first.pass(sent);
    expect(out.prefix).toEqual(sent.prefix);
    expect(wrongs(out.bytes)).toEqual([]);
    expect(out.bytes.slice(12, 16)).toEqual(Uint8Array.of(192, 0, 2, 7));
    const to = `192.0.2.7:${out.bytes[20] * 256 + out.bytes[21]}`;
    const reply = () => back(tcpPacket({ from: SERVER, to, flags: Syn | Ack }));
    const expected = tcpPacket({ from: SERVER, to: CLIENT, flags: Syn | Ack });
    expect(first.pass(reply())[0].bytes).toEqual(expected);
    await using second = await vnfWorld(functions.natFunction(options));
    expect(second.pass(reply())).toEqual([]);
    second.vnf.importState(JSON.parse(JSON.stringify(first.vnf.exportState())));
    expect(second.pass(reply())[0].bytes).toEqual(expected);
  });
});

describe('impair', () => {
  it('does to packets of each direction what it says, and they keep their prefix', async () => {
    await using world = await vnfWorld(
      functions.impairment({ there: 'delay 20ms', back: 'duplicate 100%', seed: 7 }),
    );
    const [one, two] = [tcpThere(Syn), tcpBack(Syn | Ack)];
    expect(world.pass(one, two).map(({ prefix }) => prefix)).toEqual([two.prefix, two.prefix]);
    expect(world.net.report().apps.find(({ app }) => app === 'vnf')?.report).toMatchObject({
      'there.held': 1,
    });
    world.runtime.advance('20ms');
    expect(world.port.received[2]).toMatchObject({ bytes: one.bytes, prefix: one.prefix });
    expect(world.port.received[2].time).toBe(20_000_000);
  });

  it('loses as many as it says', async () => {
    await using world = await vnfWorld(functions.impairment({ stages: 'loss 10%', seed: 7 }));
    for (let i = 0; i < 10_000; i++) world.pass(tcpThere(Syn, '', i, i % 9));
    // Five standard deviations.
    expect(Math.abs(world.port.received.length - 9000)).toBeLessThan(5 * 30);
  });

  it('gives back what it holds when it ends', async () => {
    const world = await vnfWorld(functions.impairment({ stages: 'delay 1s' }));
    world.pass(tcpThere(Syn), tcpBack(Syn));
    await world.net.close();
    expect(world.net.pool.live).toBe(0);
  });
});

describe('options', () => {
  const wrong: [string, object, string][] = [
    ['pass', { a: 1 }, 'found the unknown key "a"'],
    ['rewrite', {}, 'expected something to write'],
    ['rewrite', { match: { tenant: 3 }, ttl: 3 }, 'expected a match without tenant and vlan'],
    ['rewrite', { source: 'x' }, 'source: found "x", expected an address such as 10.0.1.1'],
    ['rate-limit', {}, 'expected a rate'],
    ['rate-limit', { rate: 'fast' }, 'expected a rate such as 5mbit'],
    ['match', {}, 'pattern: found undefined'],
    ['match', { pattern: 'hex:0' }, 'pairs of hexadecimal digits'],
    ['match', { pattern: 'x'.repeat(5000) }, 'expected up to 4096 bytes'],
    ['match', { pattern: 'x', dscp: 3 }, 'expected one with the action mark'],
    ['mirror', {}, 'file: found undefined'],
    ['balance', { match: '*', backend: [] }, 'expected a back-end'],
    ['balance', { match: '*', backend: 'x weight 0' }, 'expected an address such as 10.0.1.1:80'],
    ['firewall', { rule: 'permit *' }, 'expected allow or deny'],
    ['firewall', { rule: ['allow *', 'deny 1.2.3:x'] }, 'rule.1'],
    ['impair', {}, 'expected stages, there or back'],
    ['impair', { stages: 'delay', there: 'delay 1ms' }, 'stages'],
  ];
  it.each(wrong)('of %s that do not fit are named: %j', (name, options, expected) => {
    expect(() => functions.READY_MADE.get(name)!.check(options)).toThrow(expected);
  });
});
