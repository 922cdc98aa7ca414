import { describe, expect, it } from 'vitest';
import { ControlError, RouletteClient } from '../../../src/control/client/roulette.ts';
import { flowId, TENANT, testRoulette } from './served.ts';

const ID = flowId(3);

describe('a trace over HTTP', () => {
  it('is asked for by the client and answered by the ingress that watches', async () => {
    await using served = await testRoulette();
    const lease = await served.set({ fw: [1], ingress: [50], egress: [60] });
    expect(lease).toBeTruthy();
    await served.request('chain.put', { spi: 7, functions: ['fw'] });
    await served.request('flows.register', { flows: [{ id: ID, key: 'a', spi: 7, path: [1], egress: 60 }] });
    const client = new RouletteClient({ url: await served.listen(), tenant: TENANT });
    const end = new AbortController();
    let isWatching = () => {};
    const opened = new Promise<void>((resolve) => {
      isWatching = resolve;
    });
    const watching = (async () => {
      for await (const message of client.watch({ kinds: ['trace'], signal: end.signal })) {
        isWatching();
        const [op] = message.t === 'ev' ? message.ops : [];
        const { asked, found } = JSON.parse(op?.val ?? '{}');
        if (!asked || found) continue;
        const hops = [0, 1].map((position) => ({ position, replica: position === 0 ? 1 : 60, time: 5000 }));
        return client.request('flow.traced', { id: ID, asked, ingress: 50, hops });
      }
    })();
    // What was asked before that is in the snapshot, as it is for an ingress that comes late.
    await opened;
    const answer = await client.traceFlow(ID);
    expect(answer).toMatchObject({ id: ID, spi: 7, ingress: 50 });
    expect(answer.hops.map((hop) => [hop.function, hop.address, hop.time])).toEqual([
      ['fw', '127.0.0.1:10001', 5000],
      ['egress', '127.0.0.1:10060', 5000],
    ]);
    expect(await watching).toEqual({ taken: true });
    end.abort();
    const wrong = await client.traceFlow(flowId(9)).catch((error) => error);
    expect(wrong).toBeInstanceOf(ControlError);
    expect(wrong).toMatchObject({ status: 404, code: 'ERR_NOT_FOUND' });
    expect(served.faults).toEqual([]);
  });
});
