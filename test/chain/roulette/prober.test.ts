import { describe, expect, it } from 'vitest';
import { Prober } from '../../../src/chain/roulette/prober.ts';
import { SECOND } from '../../../src/engine/units.ts';
import { VirtualRuntime } from '../../../src/engine/virtual-runtime.ts';

const candidate = (address: string, port: number) => ({
  ...{ id: 17, function: 'fw', weight: 1, lease: '1', address, port },
  state: 'ready' as const,
});

describe('a suspected replica', () => {
  it('that answers one of three probes is alive, over IPv4 and IPv6; one that does not is dead after 300 ms', () => {
    const runtime = new VirtualRuntime({ seed: 5 });
    const prober = new Prober(runtime);
    const heard: Uint8Array[] = [];
    const answering = (bind: string) => {
      const socket = runtime.datagrams(bind, {
        onMessage: (from, bytes) => {
          heard.push(bytes);
          // The first one is lost.
          if (heard.length > 1) socket.send(from, bytes);
        },
      });
    };
    answering('10.0.0.1:4790');
    answering('[fd00::1]:4790');
    const verdicts: [string, boolean, number][] = [];
    for (const address of ['10.0.0.1', 'fd00::1', '10.0.0.2'])
      prober.probe(42, candidate(address, 4790), (alive) => verdicts.push([address, alive, runtime.now()]));
    expect(verdicts).toEqual([]);
    runtime.advance('1s');
    expect(verdicts.map(([address, alive]) => [address, alive]).sort()).toEqual([
      ['10.0.0.1', true],
      ['10.0.0.2', false],
      ['fd00::1', true],
    ]);
    expect(verdicts.find(([, alive]) => !alive)![2]).toBe(0.3 * SECOND);
    // As docs/chain/wire.md has it, but for the chain's number.
    const hex = Buffer.from(heard[0]!).toString('hex');
    expect(hex).toBe('0c00000400002a002fc50200000001fffff601080000000000000000');
    prober.close();
  });
});
