import { describe, expect, it } from 'vitest';
import { checkOptions } from '../../src/engine/options.ts';
import type { FlowView, Match } from '../../src/impair/match.ts';
import { matchSchema } from '../../src/impair/match.ts';
import { DEFAULT, DIVIDED, Rules } from '../../src/impair/rules.ts';
import { icmpEcho, tcpPacket, udpPacket } from '../../src/packet/build.ts';
import { flowKey, KEY_CELLS } from '../../src/packet/flow-key.ts';

const match = (value: unknown): Match => checkOptions(matchSchema, value) as Match;

/** The rule that a packet's flow belongs to. */
function find(rules: Rules, packet: Uint8Array, dscp = -1): number {
  const key = new Int32Array(KEY_CELLS);
  const direction = flowKey(packet, 0, packet.length, key);
  return rules.find(key, 0, direction === 1, dscp);
}

const up = (...matches: unknown[]) => new Rules(matches.map(match), 'up');
const down = (...matches: unknown[]) => new Rules(matches.map(match), 'down');
const out = tcpPacket({ from: '10.0.0.1:40000', to: '192.0.2.7:80' });
const back = tcpPacket({ from: '192.0.2.7:80', to: '10.0.0.1:40000' });

describe('a rule', () => {
  it.each([
    ['192.0.2.7', true],
    ['192.0.2.0/24', true],
    ['192.0.3.0/24', false],
    ['0.0.0.0/0', true],
    ['[::]/0', false],
    ['*', true],
    ['*:tcp', true],
    ['*:6', true],
    ['*:udp', false],
    ['*:*:80', true],
    ['*:tcp:79-81', true],
    ['*:tcp:81-90', false],
    ['*:tcp:40000', false],
    ['10.0.0.1', false],
  ])('%s: %s, for what goes up and for what comes back', (text, expected) => {
    const value = text === '[::]/0' ? { remote: '::/0' } : text;
    const rule = expected ? 0 : DEFAULT;
    expect([find(up(value), out), find(down(value), back)]).toEqual([rule, rule]);
  });

  it('of IPv6 has its address in brackets, and compares all of its words', () => {
    const packet = udpPacket({ from: '[fd00::1]:9', to: '[2001:db8:0:1:2::5]:53' });
    const of = (text: string) => find(up(text), packet);
    expect(of('[2001:db8::/32]:udp:53')).toBe(0);
    expect(of('[2001:db8:0:1:2::/80]')).toBe(0);
    expect(of('[2001:db8:0:1:3::/80]')).toBe(DEFAULT);
    expect(of('[2001:db8:0:1:2::5]')).toBe(0);
    expect(of('[2001:db8:0:1:2::6]')).toBe(DEFAULT);
  });

  it('is found by its place: the first that matches has the flow', () => {
    expect(find(up('*:udp', '192.0.2.0/24', '*:tcp:80'), out)).toBe(1);
  });

  it('may look at the inner side, and be for one direction', () => {
    expect(find(up({ local: '10.0.0.0/8', localPort: 40000 }), out)).toBe(0);
    expect(find(down({ local: '10.0.0.0/8', localPort: 40000 }), back)).toBe(0);
    expect(find(up({ local: '192.0.2.7' }), out)).toBe(DEFAULT);
    expect(find(up({ direction: 'down' }), out)).toBe(DEFAULT);
    expect(find(down({ direction: 'down' }), back)).toBe(0);
  });

  it('for icmp is for pings of both families, and ports are not for echo identifiers', () => {
    const ping = icmpEcho({ from: '10.0.0.1', to: '10.0.0.2', identifier: 80 });
    const ping6 = icmpEcho({ from: 'fd00::1', to: 'fd00::2', identifier: 80 });
    expect([ping, ping6].map((packet) => find(up('*:icmp'), packet))).toEqual([0, 0]);
    expect([ping, ping6].map((packet) => find(up('*:*:80'), packet))).toEqual([DEFAULT, DEFAULT]);
    expect([ping, ping6].map((packet) => find(up('*:1'), packet))).toEqual([0, DEFAULT]);
  });

  it('that looks at the DSCP divides the flows that it may be for, and no others', () => {
    const rules = up({ protocol: 'udp', dscp: 'ef' }, '*:tcp', { dscp: 'af21' });
    const udp = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2' });
    expect(find(rules, udp)).toBe(DIVIDED);
    expect([46, 18, 0].map((dscp) => find(rules, udp, dscp))).toEqual([0, 2, DEFAULT]);
    expect(find(rules, out)).toBe(1);
  });

  it('may be a function, which sees the flow from the inside; one that throws does not match', () => {
    const seen: FlowView[] = [];
    const asked = (flow: FlowView) => {
      seen.push(flow);
      return flow.remotePort === 80;
    };
    expect([find(up(asked), out), find(down(asked), back)]).toEqual([0, 0]);
    const flow = { version: 4, protocol: 6, remote: '192.0.2.7', remotePort: 80 };
    const inside = { local: '10.0.0.1', localPort: 40000 };
    expect(seen).toEqual(['up', 'down'].map((direction) => ({ ...flow, ...inside, direction })));

    const throwing = up(() => {
      throw new Error('mine');
    });
    expect(find(throwing, out)).toBe(DEFAULT);
    expect(throwing.failures).toBe(1);
  });

  it.each([
    ['10.0.0.300', 'remote: found "10.0.0.300", expected an address or a prefix'],
    ['10.0.0.1/8', 'expected an address or a prefix'],
    ['fd00::1', 'expected addr[:protocol[:port[-port]]]'],
    ['*:tpc', 'expected one of icmp, icmp6, tcp'],
    ['*:tcp:90-80', 'expected a port or a range'],
    ['*:icmp:80', 'expected none: the protocol has no ports'],
    ['*:tcp:80:90', 'expected addr'],
    [{ dscp: 64 }, 'dscp: found 64, expected a dscp such as 46'],
    [{ prot: 'tcp' }, 'unknown key "prot"'],
    [{ remote: '10.0.0.1', local: 'fd00::1' }, 'local: found "fd00::1", expected the address family'],
  ])('says what is wrong with %j', (value, message) => {
    expect(() => match(value)).toThrow(message);
  });
});
