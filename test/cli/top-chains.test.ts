import { EventEmitter } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { type ChainsSeen, chainsPicture } from '../../src/cli/top/chains.ts';
import { topCommand } from '../../src/cli/top/top.ts';
import type { ReplicaDocument } from '../../src/control/client/roulette.ts';
import { T, type TestRoulette, testRoulette } from '../control/roulette/served.ts';

const replica = (id: number, of: string, more: Partial<ReplicaDocument> = {}): ReplicaDocument => ({
  ...{ id, rev: 1, function: of, address: '10.0.0.1', port: 4790, weight: 1, state: 'ready' },
  ...{ lease: '1', flows: 1234, ...more },
});
const passing = { packetsIn: 1000.4, bitsIn: 10_000_000, packetsOut: 0, bitsOut: 0 };
const seen: ChainsSeen = {
  chains: [
    {
      ...{ spi: 7, rev: 3, ended: false, flows: 1234 },
      revisions: [{ revision: 2, functions: ['fw', 'dpi'], symmetric: true }],
    },
  ],
  replicas: [
    replica(18, 'fw', { suspected: 'refused' }),
    replica(17, 'fw', { state: 'draining', address: 'fd00::1' }),
    replica(1, 'ingress'),
  ],
  rates: {
    replicas: [{ replica: 17, age: 0, span: 1e9, drops: 2.4, ...passing }],
    silent: [1, 18],
    chains: [{ spi: 7, ends: 1, ...passing }],
  },
};

describe('the picture of chains', () => {
  it('has the replicas in the order of the packets, and no rate where none is known', () => {
    const lines = chainsPicture(seen, 120).map(({ text }) => text.replace(/ +/g, ' '));
    expect(lines).toEqual([
      'chain 7 revision 2, both ways 1 234 flows > 10.0 Mbit/s < 0 bit/s',
      ' function id state address flows packets bits drops/s',
      ' ingress 1 ready 10.0.0.1:4790 - - -',
      ' fw 18 suspect 10.0.0.1:4790 1 234 - - -',
      ' fw 17 draining [fd00::1]:4790 1 234 1.0 kpkt/s 10.0 Mbit/s 2',
      ' dpi nobody',
      ' egress nobody',
      '',
      '-: this Roulette does not know the rates of 2 replicas',
    ]);
  });

  it.each([1, 20, 79, 98, 99, 200])('is no wider than %i columns', (width) => {
    const lines = chainsPicture(seen, width);
    expect(Math.max(...lines.map(({ text }) => text.length))).toBeLessThanOrEqual(width);
    if (width === 79) expect(lines[4]!.text).toMatch(/17 {2}draining .*10\.0 Mbit\/s +2$/);
  });

  it('says that there are none', () => {
    const rates = { replicas: [], silent: [], chains: [] };
    expect(chainsPicture({ chains: [], replicas: [], rates }, 80)).toEqual([{ text: 'there are no chains' }]);
  });
});

describe('top --roulette', () => {
  let served: TestRoulette | undefined;
  afterEach(async () => {
    await served?.[Symbol.asyncDispose]();
    served = undefined;
  });

  async function top(...args: string[]) {
    let text = '';
    let code: number | undefined;
    const output = Object.assign(new EventEmitter(), { write: (more: string) => (text += more) });
    const input = Object.assign(new EventEmitter(), { resume() {}, pause() {} });
    const command = topCommand((ended) => (code = ended), { output, input }).exitOverride();
    await command.parseAsync(args, { from: 'user' });
    return { text, code };
  }

  it('shows what a Roulette has, once, as lines and as JSON', async () => {
    served = await testRoulette();
    await served.set({ fw: [17] });
    await served.ask('PUT', `${T}/chains/7`, { functions: ['fw'] });
    const url = await served.listen();
    const { text, code } = await top('--roulette', url, '--once');
    expect(code).toBe(0);
    expect(text).toMatch(/^chain 7 .*\n.*function.*\n.*ingress +nobody\n +fw +17 +ready +127\.0\.0\.1:10017/);
    const json = JSON.parse((await top('--roulette', url, '--once', '--json')).text);
    expect(json).toMatchObject({ event: 'chains', chains: [{ spi: 7 }], rates: { silent: [17] } });
  });

  it('says what is wrong with how it is asked, and that nobody is there', async () => {
    await expect(top('--tenant', '42')).rejects.toThrow(/--tenant has no effect without --roulette/);
    await expect(top('tun0', '--roulette', 'http://127.0.0.1:9')).rejects.toThrow(/"tun0" with --roulette/);
    await expect(top('--roulette', 'http://127.0.0.1:9', '--once')).rejects.toMatchObject({
      code: 'ERR_UNREACHABLE',
    });
  });
});
