import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { WorkerNetwork } from '../../src/engine/live-worker.ts';
import { warmUp } from '../../src/tunnel/connector/live-warm-up.ts';

const descriptors = () => readdirSync('/proc/self/fd').length;

test('warming up carries packets through a tunnel of its own, both ways, and leaves no descriptor open', {
  retry: 2,
}, async () => {
  const once = async () => {
    await using network = new WorkerNetwork({});
    return await warmUp(network, { mtu: 1420 });
  };
  await once();
  const before = descriptors();
  expect(await once()).toBeGreaterThan(2);
  // The runtime's own descriptors come and go a little.
  expect(descriptors()).toBeLessThanOrEqual(before + 3);
});
