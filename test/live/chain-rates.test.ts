import { describe, expect, it } from 'vitest';
import type { RateList } from '../../src/control/client/roulette.ts';
import { needs } from '../needs.ts';
import { chainHosts, EGRESS, INGRESS, ROULETTE, SERVER, TO_SERVER, TOKEN } from './chain-world.ts';

describe.skipIf(needs('netns', 'tun', 'ip', 'ping', 'curl'))('members of a chain', () => {
  it('tell Roulette what passes through them: each counts the packets of the others', {
    timeout: 90_000,
  }, async () => {
    await using hosts = await chainHosts();
    await hosts.replica(0);
    await hosts.start(hosts.egress, EGRESS);
    await hosts.start(hosts.ingress, INGRESS);
    await hosts.start(hosts.client, TO_SERVER);
    // 20 a second, each way.
    const ping = hosts.client.spawn(['ping', '-n', '-q', '-i', '0.05', '-s', '972', SERVER.v4]);
    const rates = async () => {
      const argv = ['curl', '-sS', '-H', `authorization: Bearer ${TOKEN}`, `${ROULETTE}/v1/tenants/42/rates`];
      return JSON.parse((await hosts.ingress.exec(argv, { check: true })).stdout) as RateList;
    };
    const isAbout = (rate: number, expected: number) => rate > 0.7 * expected && rate < 1.3 * expected;
    // A function has both ways, an end one each.
    const isTold = ({ replicas, silent, chains }: RateList) =>
      silent.length === 0 &&
      replicas.length === 3 &&
      replicas.every(({ packetsIn, packetsOut }) => isAbout(packetsIn, packetsOut)) &&
      replicas.filter(({ packetsIn }) => isAbout(packetsIn, 40)).length === 1 &&
      replicas.filter(({ packetsIn }) => isAbout(packetsIn, 20)).length === 2 &&
      // 1000 bytes of IP, without the headers of the chain.
      chains.some(
        ({ spi, ends, bitsIn, bitsOut }) =>
          spi === 7 && ends === 1 && isAbout(bitsIn, 160_000) && isAbout(bitsOut, 160_000),
      );
    let last: RateList | undefined;
    for (let i = 0; i < 24 && !(last && isTold(last)); i++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      last = await rates();
    }
    expect(last, JSON.stringify(last)).toSatisfy(isTold);
    await ping.stop();
  });
});
