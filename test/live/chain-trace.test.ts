import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { needs } from '../needs.ts';
import {
  type ChainHosts,
  chainHosts,
  EGRESS,
  INGRESS,
  ROULETTE,
  SERVER,
  TO_SERVER,
  TOKEN,
} from './chain-world.ts';
import { BIN, pings } from './cli-world.ts';

const skip = needs('netns', 'tun', 'ip', 'ping');

/** From the client's host no Roulette can be reached: the command runs where one can be. */
async function chain({ egress }: ChainHosts, words: string) {
  const env = { ...process.env, TUNCONNECTOR_TOKEN: TOKEN };
  const command = [process.execPath, BIN, 'chain', ...words.split(' '), '--roulette', ROULETTE];
  const { code, stdout, stderr } = await egress.exec(command, { env });
  return { code, out: stdout, err: stderr };
}

const count = (text: string, part: string) => text.split(part).length - 1;

describe.skipIf(skip)('chain trace', () => {
  it('shows each hop of a flow from anywhere, and hops that are silent as lost', async () => {
    await using hosts = await chainHosts();
    const fw = await hosts.replica(0);
    await hosts.start(hosts.egress, EGRESS);
    await hosts.start(hosts.ingress, INGRESS);
    await hosts.start(hosts.client, TO_SERVER);
    expect(await pings(hosts.client, SERVER.v4)).toBe(true);
    let flow = '';
    for (let i = 0; i < 50 && flow === ''; i++) {
      const shown = await chain(hosts, 'show flows --json');
      flow = JSON.parse(shown.out).flows[0]?.id ?? '';
      if (flow === '') await sleep(100);
    }
    const once = await chain(hosts, `trace ${flow} --json`);
    expect([once.err, once.code]).toEqual(['', 0]);
    const { ingress, hops } = JSON.parse(once.out);
    expect(ingress).toBeGreaterThan(0);
    expect(hops).toMatchObject([
      { position: 0, function: 'fw', address: '10.9.0.4:4790' },
      { position: 1, function: 'egress', address: '10.9.0.3:4790' },
    ]);
    for (const { time } of hops) expect(time).toBeGreaterThan(1000);
    const table = await chain(hosts, `trace ${flow} --count 3`);
    expect([table.err, table.code]).toEqual(['', 0]);
    expect([count(table.out, '0 of 3'), count(table.out, ' ms ')]).toEqual([2, 6]);

    // It keeps its lease for seconds yet, and there is no other.
    fw.child.kill('SIGSTOP');
    const lost = await chain(hosts, `trace ${flow}`);
    expect([lost.code, count(lost.out, ' lost ')]).toEqual([1, 2]);
    fw.child.kill('SIGCONT');

    const unknown = await chain(hosts, 'trace 00000000000000ff');
    expect(unknown.err).toMatch(/there is no flow 00000000000000ff/);
    expect(unknown.code).toBe(4);
    expect((await chain(hosts, 'trace fw')).err).toMatch(/there is no flow fw/);
    const known = await chain(hosts, 'show flows --json --limit 1');
    const { key } = JSON.parse(known.out).flows[0];
    const named = await chain(hosts, `trace ${key.replace(' <-> ', ' ')}`);
    expect([named.err, named.code]).toEqual(['', 0]);
  }, 90_000);
});
