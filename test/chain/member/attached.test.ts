import { afterEach, describe, expect, it } from 'vitest';
import { controlPackets } from '../../../src/chain/member/attached.ts';
import { Member } from '../../../src/chain/member/member.ts';
import type { RegistryConnection } from '../../../src/chain/roulette/remote/connection.ts';
import type { AppSpec } from '../../../src/engine/app.ts';
import { type HostedNetwork, hostNetwork } from '../../../src/engine/live-hosted.ts';
import { liveRuntime } from '../../../src/engine/live-runtime.ts';

const fixture = (name: string): AppSpec => ({
  module: new URL('./fixtures/packet-half.mjs', import.meta.url).href,
  export: name,
  options: {},
});

const entry = (key: string, value: object) => ({ key: `42/${key}`, rev: 1, val: JSON.stringify(value) });
const chain = { revisions: [{ revision: 1, functions: ['fw'], symmetric: true }], ended: false };

/** A Roulette that has one chain and answers everything. */
class Alone implements RegistryConnection {
  readonly asked: string[] = [];
  request(name: string, _body: unknown, done: (error: undefined, answer: unknown) => void): void {
    this.asked.push(name);
    const answers: Record<string, object> = {
      'lease.grant': { lease: '1', term: 5e9 },
      'replica.put': { rev: 2, id: 9 },
      'flows.touch': { missing: [] },
    };
    queueMicrotask(() => done(undefined, answers[name] ?? {}));
  }
  watch(_hello: object, { onMessage }: { onMessage(message: unknown): void }): () => void {
    const entries = [entry('chain/7', chain)];
    queueMicrotask(() => onMessage({ t: 'snap', store: 'x', rev: 1, part: 0, last: true, entries }));
    return () => {};
  }
}

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

async function world(
  apps: Record<string, AppSpec>,
): Promise<{ network: HostedNetwork; member: Member; roulette: Alone }> {
  const roulette = new Alone();
  const replica = { function: 'egress', address: '10.0.0.1', port: 4790 };
  const member = new Member(liveRuntime(), roulette, { tenant: 42, replica });
  opened.push(member);
  const network = hostNetwork('main');
  opened.push(network);
  await network.start({ apps, links: [] });
  return { network, member, roulette };
}

const until = async (fact: () => boolean | Promise<boolean>) => {
  for (let i = 0; i < 500 && !(await fact()); i++) await new Promise((resolve) => setTimeout(resolve, 2));
  expect(await fact()).toBe(true);
};

describe('an app that is joined to its control half', () => {
  it('is told everything, then what changes, and what it says arrives', async () => {
    const { network, member, roulette } = await world({ half: fixture('packetHalf') });
    await controlPackets(member, network, 'half');
    const updates = async () => {
      const { apps } = await network.report();
      const { updates } = apps.find(({ app }) => app === 'half')!.report;
      return JSON.parse(String(updates)) as { whole?: boolean; own?: object }[];
    };
    await until(async () => (await updates()).some(({ own }) => own !== undefined));
    const [first] = await updates();
    expect(first).toMatchObject({
      whole: true,
      chains: [{ spi: 7, revisions: [{ functions: ['fw'] }] }],
      rules: [],
    });
    expect((await updates()).at(-1)).toMatchObject({ own: { id: 9 } });
    await until(() => roulette.asked.includes('flows.touch'));
    expect(member.status.flows.known).toBe(2);
    // Another network in its place, or the same anew.
    await controlPackets(member, network, 'half');
    await until(async () => (await updates()).at(-1)?.whole === true);
  });

  it('has to be one that can be', async () => {
    const { network, member } = await world({ other: fixture('deaf') });
    for (const app of ['other', 'nobody']) {
      await expect(controlPackets(member, network, app)).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    }
  });
});
