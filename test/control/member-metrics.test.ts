import { describe, expect, it } from 'vitest';
import { type MemberFigures, metricsOf, serveMetrics } from '../../src/control/member/metrics.ts';

const flows = {
  known: 9,
  evicted: 0,
  waiting: 4,
  asked: 7,
  held: 5,
  refused: 1,
  givenUp: 0,
  failures: 2,
  touched: 0,
};
const watch = { gaps: 0, misfits: 0, snapshots: 1, events: 0, beats: 3 };
const registration = { leases: 1, registrations: 1 };
const member = {
  id: 7,
  registered: true,
  connected: false,
  reconnects: 3,
  rev: 40,
  suspects: 2,
  watch,
  registration,
  flows,
};
const network = {
  links: [{ link: 'a.out -> b.in', packets: 3, bits: 80 }],
  apps: [{ app: 'end', drops: { 'no-flow': 2 } }],
} as unknown as MemberFigures['network'];

describe('the figures of a member', () => {
  it('are those of its network, and of what is between it and Roulette', async () => {
    const text = await metricsOf({ role: 'ingress', member, network });
    for (const line of [
      'replica{role="ingress"} 7',
      'connected{role="ingress"} 0',
      'flows_waiting{role="ingress"} 4',
      'packets_total{link="a.out -> b.in",role="ingress"} 3',
      'bytes_total{link="a.out -> b.in",role="ingress"} 10',
      'drops_total{app="end",reason="no-flow",role="ingress"} 2',
    ]) {
      expect(text).toContain(`tunconnector_chain_${line}`);
    }
    expect(await metricsOf({ role: 'client', network })).not.toContain('replica');
  });

  it('are served at /metrics, beyond loopback to who has the token', async () => {
    const figures = async () => ({ role: 'egress', member, network });
    const served = await serveMetrics(figures, { address: { host: '127.0.0.1', port: 0 }, version: '0' });
    try {
      const answer = await fetch(served.url);
      expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4');
      expect(await answer.text()).toContain('tunconnector_chain_replica{role="egress"} 7');
    } finally {
      await served.close();
    }
    const everywhere = serveMetrics(figures, { address: { host: '0.0.0.0', port: 0 }, version: '0' });
    await expect(everywhere).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });
});
