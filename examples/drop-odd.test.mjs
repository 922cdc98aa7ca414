// The app of drop-odd.mjs in a test: no root, no interfaces, no waiting. Run: node --test examples/drop-odd.test.mjs
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { udpPacket } from 'tunconnector/packet';
import { testNetwork } from 'tunconnector/testing';
import { DropOdd } from './drop-odd.mjs';

test('packets of odd length are dropped and counted, the others pass', async () => {
  const { net, a, b, runtime } = await testNetwork({ seed: 7 }).between(new DropOdd());

  for (const payload of ['even', 'odd', 'even too']) a.send(udpPacket({ to: '10.0.0.2:53', payload }));
  runtime.advance('1ms');

  assert.deepEqual(
    b.received.map(({ bytes }) => bytes.length),
    [32, 36],
  );
  assert.deepEqual(net.report().apps.find(({ app }) => app === 'app0')?.drops, { 'odd-length': 1 });
  await net.close();
});
