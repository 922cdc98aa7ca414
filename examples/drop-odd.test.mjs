// The app of drop-odd.mjs in a test: no root, no interfaces, no waiting. Run it with: node --test examples/
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryPort, Network, VirtualRuntime } from 'tunconnector';
import { udpPacket } from 'tunconnector/packet';
import { DropOdd } from './drop-odd.mjs';

test('packets of odd length are dropped, the others pass', async () => {
  const runtime = new VirtualRuntime({ seed: 7 });
  const [a, b] = [new MemoryPort(), new MemoryPort()];
  const net = new Network(runtime)
    .app('a', a)
    .app('b', b)
    .app('odd', new DropOdd())
    .link('a.out -> odd.in')
    .link('odd.out -> b.in');
  await net.start();

  for (const payload of ['even', 'odd', 'even too']) a.send(udpPacket({ to: '10.0.0.2:53', payload }));
  runtime.advance('1ms');

  assert.deepEqual(
    b.received.map(({ bytes }) => bytes.length),
    [32, 36],
  );
  assert.deepEqual(net.report().apps.find(({ app }) => app === 'odd')?.drops, { 'odd-length': 1 });
  await net.close();
});
