import { expect, it } from 'vitest';
import { join, sink } from '../../src/engine/basic.ts';
import { NetworkHere } from '../../src/engine/live-hosted.ts';
import { runInWorker } from '../../src/engine/live-worker.ts';
import { inspector } from '../../src/impair/attached.ts';
import { impair } from '../../src/impair/impair.ts';

const config = {
  apps: { in: join({}), up: impair({ seed: 7, stages: 'delay 5ms loss 1%' }), out: sink({}) },
  links: ['in.out -> up.in', 'up.out -> out.in'],
};

it.each(['in this thread', 'in a worker'])('a network %s says what its impairments did', async (where) => {
  const here = new NetworkHere();
  const network = where === 'in a worker' ? await runInWorker(config) : here;
  try {
    if (network === here) await here.start(config);
    const { inspect, close } = await inspector(network);
    const [first, second] = await Promise.all([inspect(), inspect()]);
    expect(Object.keys(first)).toEqual(['up']);
    expect(first.up).toMatchObject({ seed: 7, direction: 'up', packets: 0, flows: { known: 0, top: [] } });
    expect(first.up.pipelines[0].stages.map(({ name }) => name)).toEqual(['delay', 'loss']);
    expect(second).toEqual(first);
    expect(await inspect()).toEqual(first);
    await network.close();
    await expect(inspect()).rejects.toThrow('the network is closed');
    close();
  } finally {
    await network.close();
    await here.close();
  }
});
