import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { WorkerNetwork } from '../../src/engine/live-worker.ts';
import { warmUp } from '../../src/impair/live-warm-up.ts';
import { compileSpec } from '../../src/impair/spec/spec.ts';

const descriptors = () => readdirSync('/proc/self/fd').length;

// Each way alone would be stuck for seconds, lose everything or double without end.
const SPECS = [
  'delay 10s 1s order allow rate 1kbit loss 1%',
  'loss 100%',
  'duplicate 50% corrupt 1% mtu 1300 slot 1s 2s',
];

// So long as the machine lets it run: packets have 60 ms.
test.each(SPECS)(
  'warming up for "%s" carries packets, soon ends, and leaves nothing open',
  { retry: 2 },
  async (both) => {
    const spec = compileSpec({ both, rules: [{ label: 'a', match: '*:udp', both }] });
    const once = async () => {
      await using network = new WorkerNetwork({});
      return await warmUp(network, spec);
    };
    await once();
    const before = descriptors();
    const began = performance.now();
    const packets = await once();
    if (both === 'loss 100%') expect(packets).toBe(0);
    else expect(packets).toBeGreaterThan(10);
    expect(performance.now() - began).toBeLessThan(5000);
    // The runtime's own descriptors come and go a little.
    expect(descriptors()).toBeLessThanOrEqual(before + 3);
  },
);
