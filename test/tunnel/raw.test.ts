import { expect, it } from 'vitest';
import { Network, VirtualRuntime } from '../../src/engine/index.ts';
import { udpPacket } from '../../src/packet/build.ts';
import { MemoryPort } from '../../src/tun/memory.ts';
import { rawTunnel } from '../../src/tunnel/raw.ts';
import { Path } from './virtual-path.ts';

it('senders that take turns at a raw tunnel are followed at once, and told once a second', async () => {
  const runtime = new VirtualRuntime({ seed: 1 });
  const net = new Network(runtime, { memory: 24 << 20 });
  const [near, far, path] = [new MemoryPort(), new MemoryPort(), new Path()];
  const told: string[] = [];
  net.on('event', (app, event) => app === 'follower' && told.push(String(event.outer)));
  net.app('near', near).app('far', far).app('path', path);
  net.app('speaker', rawTunnel({ peer: path.addressOf.b })).app('follower', rawTunnel({}));
  for (const [a, b] of [
    ['near.out', 'speaker.inside'],
    ['speaker.inside', 'near.in'],
    ['speaker.outside', 'path.a'],
    ['path.a', 'speaker.outside'],
    ['path.b', 'follower.outside'],
    ['follower.outside', 'path.b'],
    ['follower.inside', 'far.in'],
    ['far.out', 'follower.inside'],
  ])
    net.link(`${a} -> ${b}`);
  await net.start();
  const speak = (port: number) => {
    path.addressOf.a = `192.0.2.1:${port}`;
    near.send(udpPacket({ to: '10.0.0.2:53' }));
    runtime.advance('1ms');
  };
  for (let n = 0; n < 500; n++) speak(4000 + (n % 2));
  expect(far.received).toHaveLength(500);
  expect(told).toEqual(['192.0.2.1:4000']);
  // The one of then is told when it may be, though nobody speaks any more.
  runtime.advance('1s');
  expect(told).toEqual(['192.0.2.1:4000', '192.0.2.1:4001']);
  runtime.advance('1m');
  speak(4002);
  expect(told).toHaveLength(3);
  await net.close();
});
