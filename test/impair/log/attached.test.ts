import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { join, sink } from '../../../src/engine/basic.ts';
import { NetworkHere } from '../../../src/engine/live-hosted.ts';
import { runInWorker } from '../../../src/engine/live-worker.ts';
import { impair } from '../../../src/impair/impair.ts';
import { recordVerdicts } from '../../../src/impair/log/attached.ts';
import { parseVerdicts } from '../../../src/impair/log/parse.ts';
import { udpPacket } from '../../../src/packet/build.ts';
import { MemoryPort } from '../../../src/tun/memory.ts';
import { events } from './recorded.ts';

const packet = udpPacket({ from: '10.0.0.1:1', to: '10.0.0.2:2', payload: 10 });

/** A live network of this thread, and what sends packets through its impairment. */
async function here() {
  const network = new NetworkHere();
  const a = new MemoryPort();
  network.network.app('a', a).app('b', new MemoryPort());
  await network.start({
    apps: { up: impair({ seed: 7, stages: 'delay 5ms' }) },
    links: ['a.out -> up.in', 'up.out -> b.in'],
  });
  return { network, a };
}

describe('a recording', () => {
  it('has what was collected when it is asked to flush, and everything when it is stopped', async () => {
    const { network, a } = await here();
    let text = '';
    const recording = await recordVerdicts(network, (lines) => {
      text += lines;
    });
    a.send(packet);
    while (!text.includes('"out"')) {
      recording.flush();
      await sleep(1);
    }
    a.send(packet);
    while (network.network.get('up').report!().packetsOut !== 2) await sleep(1);
    await recording.stop();
    await recording.stop();
    a.send(packet);
    await network.close();
    const came = events(text).filter(({ event }) => event === 'in');
    expect(came.map(({ n }) => n)).toEqual([1, 2]);
  });

  it('loses lines and counts them when they are not written, and says why when it is stopped', async () => {
    const { network, a } = await here();
    const recording = await recordVerdicts(network, () => {
      throw new Error('the disk is full');
    });
    a.send(packet);
    await sleep(2);
    await expect(recording.stop()).rejects.toThrow('the disk is full');
    await network.close();
  });

  it('goes on with what takes the place of an impairment, from its first packet on', async () => {
    const { network, a } = await here();
    let text = '';
    const recording = await recordVerdicts(network, (lines) => {
      text += lines;
    });
    a.send(packet);
    while (network.network.get('up').report!().packets !== 1) await sleep(1);
    await network.replace({ up: impair({ seed: 8, stages: 'delay 5ms' }) });
    a.send(packet);
    while (network.network.get('up').report!().packetsOut !== 1) await sleep(1);
    await recording.stop();
    await network.close();
    expect(text.match(/"seed":\d/g)).toEqual(['"seed":7', '"seed":8']);
    expect(events(text).filter(({ event }) => event === 'in')).toHaveLength(2);
    expect(events(text).filter(({ event }) => event === 'out')).toHaveLength(1);
    expect(() => parseVerdicts(text)).not.toThrow();
  });

  it('says when its network was closed before it', async () => {
    const { network } = await here();
    const recording = await recordVerdicts(network, () => {});
    await network.close();
    await expect(recording.stop()).rejects.toThrow('the network was closed');
  });

  it('comes from a worker too, of both directions', async () => {
    const network = await runInWorker({
      apps: {
        a: join({}),
        b: sink({}),
        c: join({}),
        d: sink({}),
        up: impair({ seed: 7 }),
        down: impair({ seed: 8, direction: 'down' }),
      },
      links: ['a.out -> up.in', 'up.out -> b.in', 'c.out -> down.in', 'down.out -> d.in'],
    });
    try {
      let text = '';
      const recording = await recordVerdicts(network, (lines) => {
        text += lines;
      });
      await recording.stop();
      expect(text.trimEnd().split('\n')).toEqual([
        '{"event":"log","version":1,"direction":"up","seed":7}',
        '{"event":"log","version":1,"direction":"down","seed":8}',
      ]);
    } finally {
      await network.close();
    }
  });
});
