import { describe, expect, it } from 'vitest';
import { type App, type Ports, reason, tee } from '../../src/engine/index.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { testNetwork } from '../../src/testing/network.ts';

const OddLength = reason('odd-length');

class DropOdd implements App {
  push({ pool, input, output }: Ports) {
    for (let n = input.in.waiting; n > 0; n--) {
      const packet = input.in.take();
      if (pool.length[packet] & 1) pool.drop(packet, OddLength);
      else output.out.put(packet);
    }
  }
}

describe('a test network', () => {
  it('lets a test send through an app of its own, and back', async () => {
    await using t = await testNetwork({ seed: 7 }).between(new DropOdd());
    const even = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:53', payload: new Uint8Array(2) });
    const odd = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:53', payload: new Uint8Array(3) });
    t.a.send(even);
    t.a.send(odd);
    t.b.send(odd);
    t.runtime.advance('1ms');
    expect(t.b.received.map((r) => r.bytes.length)).toEqual([30]);
    expect(t.a.received.map((r) => r.bytes.length)).toEqual([31]);
  });

  it('puts several apps in a row, data or instances', async () => {
    await using t = await testNetwork({ layer: 'L2' }).between(tee({}), new DropOdd(), new DropOdd());
    t.a.send(new Uint8Array(64));
    t.runtime.advance(0);
    expect(t.b.received).toHaveLength(1);
    expect(t.net.config.links).toContain('app1.out -> app2.in');
  });
});
