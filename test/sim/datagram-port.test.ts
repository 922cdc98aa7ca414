/** What the UDP port of a simulated host hears of those to whom it sends. */
import { expect, it } from 'vitest';
import { type App, type AppContext, type Layer, Network, type Ports } from '../../src/engine/index.ts';
import { parseEndpoint } from '../../src/packet/prefix.ts';
import { DatagramPort, Simulation } from '../../src/sim/index.ts';

const LISTENS = '10.0.0.2:5000';
const REFUSES = '10.0.0.2:5001';
const AWAY = '10.0.0.3:5000';

/** Sends a datagram to each of its addresses, which it keeps. */
class Sender implements App {
  readonly inputs = [];
  readonly outputs = ['out'];
  readonly layers: Readonly<Record<string, Layer>> = { out: 'datagram' };
  readonly rows: number[] = [];
  context!: AppContext;
  #isDone = false;

  open(context: AppContext): void {
    this.context = context;
    for (const text of [LISTENS, REFUSES, AWAY]) {
      const { address, port } = parseEndpoint(text);
      this.rows.push(context.pool.addresses.pinAddress({ ...address, port, scope: 0 }));
    }
    context.wake();
  }

  pull({ pool, output }: Ports): boolean {
    if (this.#isDone) return false;
    this.#isDone = true;
    for (const row of this.rows) {
      const packet = pool.copyIn(new Uint8Array(10), 0, this.context.account);
      pool.peer[packet] = row;
      output.out!.put(packet);
    }
    return false;
  }

  push(): void {}

  held(): number {
    return 0;
  }
}

it('a peer that does not listen is counted, as the udp port of a machine counts it, and no other', async () => {
  await using sim = await Simulation.start({
    hosts: { a: {}, b: {} },
    links: { one: { between: ['a 10.0.0.1/24', 'b 10.0.0.2/24'], impair: 'delay 1ms' } },
  });
  const b = sim.host('b');
  const heard: string[] = [];
  b.runtime.datagrams('0.0.0.0:5000', { onMessage: (from) => heard.push(from) });
  const sender = new Sender();
  const port = new DatagramPort('0.0.0.0:4000');
  const network = new Network(sim.host('a').runtime, { memory: 16 << 20 });
  network.app('udp', port).app('sender', sender).link('sender.out -> udp.in').app('sink', sink());
  network.link('udp.out -> sink.in');
  await network.start();
  await sim.run('1s');
  const { addresses } = sender.context.pool;
  expect(heard).toEqual(['10.0.0.1:4000']);
  expect(addresses.refused[0]).toBe(1);
  expect(sender.rows.map((row) => addresses.takeRefused(row))).toEqual([0, 1, 0]);
  expect(port.report()).toMatchObject({ sent: 3, refusals: 1 });
  await network.close();
});

it('a socket of a program is told who refused, and of nothing after it was closed', async () => {
  await using sim = await Simulation.start({
    hosts: { a: {}, b: {} },
    links: {
      one: { between: ['a 10.0.0.1/24 fd00::1/64', 'b 10.0.0.2/24 fd00::2/64'], impair: 'delay 1ms' },
    },
  });
  const refused: string[] = [];
  const errors: unknown[] = [];
  const open = (bind: string) =>
    sim.host('a').runtime.datagrams(bind, {
      onMessage: () => {},
      onError: (error) => errors.push(error),
      onRefused: (to) => refused.push(to),
    });
  const four = open('0.0.0.0:4000');
  four.send(REFUSES, new Uint8Array(1));
  const six = open('[::]:4001');
  six.send('[fd00::2]:7', new Uint8Array(1));
  await sim.run('1s');
  expect([refused, errors]).toEqual([[REFUSES, '[fd00::2]:7'], []]);
  four.send(REFUSES, new Uint8Array(1));
  four.close();
  await sim.run('1s');
  expect(refused.length).toBe(2);
});

function sink(): App {
  return {
    inputs: ['in'],
    outputs: [],
    layers: { in: 'datagram' },
    push({ pool, input }: Ports) {
      for (let n = input.in!.waiting; n > 0; n--) pool.free(input.in!.take());
    },
    held: () => 0,
  };
}
