import { describe, expect, it } from 'vitest';
import { formatIp, parseIp } from '../../src/packet/address.ts';
import * as icmp from '../../src/packet/icmp.ts';
import { icmpEcho, Verdict, verifyTransport } from '../../src/packet/index.ts';
import * as ip from '../../src/packet/ip.ts';
import type { EchoFlow } from '../../src/stack/echo/flows.ts';
import { testHost } from './hosts.ts';

const SENDERS = { 4: '10.0.0.9', 6: 'fd00::9' };
const OTHERS = { 4: '203.0.113.7', 6: '2001:db8::7' };
const ROUTERS = { 4: '198.51.100.1', 6: '2001:db8:ffff::1' };
const FAMILIES = [4, 6] as const;
type Family = 4 | 6;

/** An echo request from a client to a host that the stack stands for. */
const request = (
  family: Family,
  { identifier = 0x1234, sequence = 7, ttl = 64, data = 'hello', to = OTHERS[family] } = {},
): Uint8Array => icmpEcho({ from: SENDERS[family], to, identifier, sequence, ttl, payload: data });

/** What a client sees of a packet. */
function seen(packet: Uint8Array) {
  const at = packet[0]! >> 4 === 4 ? 20 : 40;
  const [type, code] = [packet[at]!, packet[at + 1]!];
  const body = packet.subarray(at + 8);
  return {
    from: formatIp(ip.source(packet, 0)),
    to: formatIp(ip.destination(packet, 0)),
    ttl: ip.hopLimit(packet, 0),
    ...{ type, code, body },
    identifier: icmp.identifier(packet, at),
    sequence: icmp.sequence(packet, at),
    text: new TextDecoder().decode(body),
    isWhole: verifyTransport(packet, 0) === Verdict.Right,
  };
}

async function captor({ limit = 10, idle = 60e9, takes = true } = {}) {
  const host = await testHost({
    captive: true,
    routes: ['0.0.0.0/0', '::/0'].map((to) => ({ to, interface: 'eth0' })),
  });
  const flows: EchoFlow[] = [];
  const asked: string[] = [];
  let ended = 0;
  host.host.capture({
    echo: {
      ...{ limit, idle },
      onEcho: (flow) => {
        if (!takes) return 'prohibited';
        flows.push(flow);
        return {
          onRequest: (sequence, data, ttl) =>
            asked.push(`${flow.identifier} ${sequence} ${ttl} ${new TextDecoder().decode(data)}`),
          onClosed: () => ended++,
        };
      },
    },
  });
  return Object.assign(host, { flows, asked, ended: () => ended });
}

describe('pings to hosts that a stack stands for', () => {
  it.each(FAMILIES)('IPv%i: are given to whoever takes them, and answered as that host', async (family) => {
    await using world = await captor();
    expect(world.exchange(request(family), request(family, { sequence: 8, data: '' }))).toEqual([]);
    expect(world.asked).toEqual(['4660 7 63 hello', '4660 8 63 ']);
    const [flow] = world.flows;
    expect(world.flows).toHaveLength(1);
    expect(flow!.sourceAddress).toBe(SENDERS[family]);
    flow!.reply(7, new TextEncoder().encode('hello'), 51);
    const [reply] = world.exchange();
    expect(seen(reply!)).toMatchObject({
      ...{ from: OTHERS[family], to: SENDERS[family], ttl: 51, isWhole: true },
      ...{ type: family === 4 ? 0 : 129, code: 0, identifier: 0x1234, sequence: 7, text: 'hello' },
    });
  });

  it.each(FAMILIES)('IPv%i: are told apart by their identifiers and hosts', async (family) => {
    await using world = await captor();
    const gateway = family === 4 ? '10.0.0.2' : 'fd00::2';
    const replies = world.exchange(
      request(family, { identifier: 1 }),
      request(family, { identifier: 2 }),
      request(family, { identifier: 1, to: ROUTERS[family] }),
      request(family, { identifier: 1, to: gateway }),
    );
    expect(world.flows).toHaveLength(3);
    // The stack's own address is not for others.
    expect(replies.map((reply) => seen(reply).from)).toEqual([gateway]);
  });

  it.each(FAMILIES)('IPv%i: hear what routers on the way say, as from them', async (family) => {
    await using world = await captor();
    world.exchange(request(family));
    const [flow] = world.flows;
    const [type, code] = family === 4 ? [11, 0] : [3, 0];
    flow!.fail(7, type, code, parseIp(ROUTERS[family]).bytes);
    flow!.refuse(8, 'host');
    const [expired, refused] = world.exchange().map(seen);
    expect(expired).toMatchObject({ from: ROUTERS[family], to: SENDERS[family], type, code, isWhole: true });
    const quoted = seen(expired!.body);
    expect(quoted).toMatchObject({
      from: SENDERS[family],
      to: OTHERS[family],
      identifier: 0x1234,
      sequence: 7,
    });
    expect(refused).toMatchObject({ from: OTHERS[family], type: family === 4 ? 3 : 1, isWhole: true });
    expect(seen(refused!.body).sequence).toBe(8);
  });

  it.each(FAMILIES)('IPv%i: end at the stack when they go no further', async (family) => {
    await using world = await captor();
    const [answer] = world.exchange(request(family, { ttl: 1 })).map(seen);
    expect(answer).toMatchObject({
      from: family === 4 ? '10.0.0.2' : 'fd00::2',
      type: family === 4 ? 11 : 3,
    });
    expect(world.flows).toEqual([]);
    expect(world.drops()).toEqual({ 'ip-expired': 1 });
  });

  it('are refused when nobody takes them, and dropped beyond the limit', async () => {
    await using closed = await captor({ takes: false });
    expect(closed.exchange(request(4)).map((packet) => seen(packet).code)).toEqual([13]);
    expect(closed.drops()).toEqual({ 'echo-refused': 1 });
    await using world = await captor({ limit: 2 });
    for (let identifier = 1; identifier <= 5; identifier++) world.exchange(request(4, { identifier }));
    expect(world.flows).toHaveLength(2);
    expect(world.drops()).toEqual({ 'echo-flows': 3 });
  });

  it('end after their time of silence, and when the stack ends', async () => {
    await using world = await captor({ idle: 10e9 });
    world.exchange(request(4, { identifier: 1 }), request(4, { identifier: 2 }));
    world.runtime.advance('8s');
    world.exchange(request(4, { identifier: 2 }));
    world.runtime.advance('5s');
    expect(world.flows.map(({ closed }) => closed)).toEqual([true, false]);
    expect(world.ended()).toBe(1);
    expect(world.flows[0]!.reply(1, new Uint8Array(1), 64)).toBe(false);
    await world.net.close();
    expect(world.ended()).toBe(2);
  });

  it('are whole or nothing: a wrong checksum is no request', async () => {
    await using world = await captor();
    const broken = request(4);
    broken[27]! ^= 1;
    world.exchange(broken);
    expect(world.flows).toEqual([]);
    expect(world.drops()).toEqual({ 'icmp-malformed': 1 });
  });

  it('are answered with as much as they bring, in fragments where that is long', async () => {
    await using world = await captor();
    world.exchange(request(4));
    expect(world.flows[0]!.reply(7, new Uint8Array(4000), 64)).toBe(true);
    expect(world.exchange().length).toBe(3);
    expect(world.flows[0]!.reply(7, new Uint8Array(65_536), 64)).toBe(false);
  });
});
