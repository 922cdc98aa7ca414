import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { counter } from '../../../src/chain/functions/index.ts';
import { type WarmUpOptions, warmUp } from '../../../src/chain/warm/live-warm-up.ts';
import { standIn } from '../../../src/chain/warm/stand-ins.ts';
import { built, WorkerNetwork } from '../../../src/engine/live-worker.ts';

const descriptors = () => readdirSync('/proc/self/fd').length;

async function once(options: WarmUpOptions): Promise<number> {
  await using network = new WorkerNetwork({});
  return await warmUp(network, options);
}

test.each<[string, WarmUpOptions]>([
  ['VXLAN-GPE', { encapsulation: 'vxlan-gpe', nat: false }],
  ['Geneve, with address translation', { encapsulation: 'geneve', nat: true }],
])(
  'warming up carries packets through a chain of its own, and leaves no descriptor open: %s',
  // Packets have a fixed time, in which a machine may stand still.
  { retry: 2 },
  async (_, options) => {
    await once(options);
    const before = descriptors();
    expect(await once(options)).toBeGreaterThan(50);
    // The runtime's own descriptors come and go a little.
    expect(descriptors()).toBeLessThanOrEqual(before + 3);
  },
);

test('a ready-made function is run itself, in an app of its own', { retry: 2 }, async () => {
  const spec = counter({});
  const options = { encapsulation: 'vxlan-gpe', nat: false } as const;
  expect(await once({ ...options, function: { ...spec, module: built(spec.module) } })).toBeGreaterThan(50);
});

test('what writes files, and what is of the user, is not run', () => {
  const mirror = { module: 'x', export: 'mirror', options: {} };
  expect(standIn(mirror, 0)).not.toBe(mirror);
  expect(standIn(undefined, 0)).not.toEqual(standIn(undefined, 1));
});
