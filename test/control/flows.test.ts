import { describe, expect, it } from 'vitest';
import * as contract from '../../src/control/impair/contract.ts';
import { compileSpec } from '../../src/impair/spec/spec.ts';
import { tcpPacket, udpPacket } from '../../src/packet/build.ts';
import { datagram, type TestServer, testServer } from './served.ts';

const flowsOf = async (served: TestServer, query = '') => {
  const { status, body } = await served.ask('GET', `/api/v1/flows${query}`);
  expect(status).toBe(200);
  expect(contract.flowList.safeParse(body).error).toBeUndefined();
  return body as contract.FlowList;
};

/** Ten thousand, of which the one with port 1 has the most bytes, and so on. */
async function tenThousand(): Promise<TestServer> {
  const served = await testServer({ rules: [{ label: 'few', match: '10.0.0.2:tcp', both: 'delay 1ms' }] });
  const { a, runtime } = served.pair;
  for (let i = 0; i < 10_000; i++) {
    const from = `10.1.${i >> 8}.${i & 255}:1000`;
    a.send(udpPacket({ from, to: '10.0.0.2:53', payload: 1 + ((10_000 - i) >> 3) }));
    if (i % 100 === 0) runtime.advance('1us');
  }
  for (let i = 0; i < 3; i++)
    a.send(tcpPacket({ from: `10.9.0.${i}:5000`, to: '10.0.0.2:80', payload: 9000 }));
  runtime.advance('1s');
  return served;
}

describe('flows', () => {
  it('of both directions are one connection, as seen from the inside', async () => {
    await using served = await testServer();
    const { a, b, runtime } = served.pair;
    a.send(datagram());
    a.send(datagram());
    b.send(udpPacket({ from: '10.0.0.2:53', to: '10.0.0.1:1000', payload: 1000 }));
    // One that looks the same and is not: who is outside asks.
    b.send(udpPacket({ from: '10.0.0.1:1000', to: '10.0.0.2:53', payload: 10 }));
    runtime.advance('1ms');
    const { total, flows } = await flowsOf(served);
    expect(total).toBe(2);
    const side = { rule: 'default', rate: 0, last: 0 };
    const ends = { version: 4, protocol: 17, protocolName: 'udp', dscp: -1 };
    expect(flows).toEqual([
      {
        ...ends,
        ...{ local: '10.0.0.1', localPort: 1000, remote: '10.0.0.2', remotePort: 53 },
        up: { ...side, packets: 2, bytes: 256 },
        down: { ...side, packets: 1, bytes: 1028 },
        match: { local: '10.0.0.1', localPort: 1000, remote: '10.0.0.2', port: 53, protocol: 17 },
      },
      {
        ...ends,
        ...{ local: '10.0.0.2', localPort: 53, remote: '10.0.0.1', remotePort: 1000 },
        up: null,
        down: { ...side, packets: 1, bytes: 38 },
        match: { local: '10.0.0.2', localPort: 53, remote: '10.0.0.1', port: 1000, protocol: 17 },
      },
    ]);
  });

  it('have rates since the look before, and a look is good for half a second', async () => {
    await using served = await testServer();
    const { a, runtime } = served.pair;
    a.send(datagram());
    runtime.advance('1ms');
    await flowsOf(served);
    a.send(datagram());
    runtime.advance('400ms');
    expect((await flowsOf(served)).flows[0]!.up!.packets).toBe(1);
    runtime.advance('600ms');
    const [flow] = (await flowsOf(served)).flows;
    expect(flow!.up).toMatchObject({ packets: 2, rate: 128 * 8 });
    a.send(datagram(2000));
    runtime.advance('1s');
    const { flows } = await flowsOf(served, '?sort=rate');
    expect(flows.map(({ localPort, up }) => [localPort, up!.rate])).toEqual([
      [2000, 128 * 8],
      [1000, 0],
    ]);
  });

  it('are ten thousand, of which those are given that were asked for', async () => {
    await using served = await tenThousand();
    const first = await flowsOf(served, '?top=5');
    expect(first.total).toBe(10_003);
    expect(first.flows.slice(0, 3).map(({ protocolName }) => protocolName)).toEqual(['tcp', 'tcp', 'tcp']);
    expect(first.flows.slice(3).map(({ local }) => local)).toEqual(['10.1.0.0', '10.1.0.1']);
    const later = await flowsOf(served, '?top=1000&offset=9800');
    expect(later.flows).toHaveLength(203);
    expect((await flowsOf(served, '?offset=20000')).flows).toEqual([]);
    expect((await served.ask('GET', '/api/v1/flows?top=1001')).status).toBe(400);
  });

  it('are found by their rule and by their text', async () => {
    await using served = await tenThousand();
    expect((await flowsOf(served, '?rule=few')).total).toBe(3);
    expect((await flowsOf(served, '?rule=nobody')).flows).toEqual([]);
    const { total, flows } = await flowsOf(
      served,
      `?search=${encodeURIComponent('udp 10.1.7.77:1000 > 10.0.0.2:53')}`,
    );
    expect([total, flows[0]!.local]).toEqual([1, '10.1.7.77']);
    expect((await flowsOf(served, '?search=10.1.7.&top=3')).total).toBe(256);
  });

  it('have a match that a rule for them can be made of', async () => {
    await using served = await testServer({
      rules: [{ label: 'ef', match: { dscp: 'ef', port: 53 }, up: 'delay 1ms' }],
    });
    const v6 = udpPacket({ from: '[fd00::1]:4000', to: '[fd00::2]:53', payload: 10 });
    v6[0] = 0x6b;
    v6[1] = 0x80;
    served.pair.a.send(v6);
    served.pair.runtime.advance('5ms');
    const [flow] = (await flowsOf(served)).flows;
    expect(flow).toMatchObject({ version: 6, dscp: 46, up: { rule: 'ef' }, match: { dscp: 46 } });
    const patch = { match: flow!.match, both: 'loss 100%', position: 0 };
    expect((await served.ask('PATCH', '/api/v1/rules/clicked', patch)).status).toBe(200);
    expect(() => compileSpec(served.link.document().spec)).not.toThrow();
    served.pair.a.send(v6);
    served.pair.runtime.advance('700ms');
    expect((await flowsOf(served)).flows[0]!.up!.rule).toBe('clicked');
    expect(served.pair.b.received).toHaveLength(1);
  });

  it('that was forgotten and has come back begins anew', async () => {
    await using served = await testServer({ flows: 3 });
    const { a, runtime } = served.pair;
    for (let i = 0; i < 10; i++) a.send(datagram(1));
    runtime.advance('1ms');
    await flowsOf(served);
    for (const port of [2, 3, 1]) a.send(datagram(port));
    runtime.advance('1s');
    const { flows } = await flowsOf(served);
    const again = flows.find(({ localPort }) => localPort === 1)!;
    expect(again.up).toMatchObject({ packets: 1, rate: 128 * 8 });
    expect((await served.ask('GET', '/api/v1/stats')).body.up.flows).toEqual({
      known: 2,
      limit: 2,
      evicted: 2,
    });
  });
});
