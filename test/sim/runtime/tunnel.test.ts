/** The live tunnel in simulated hosts, unmodified, over the UDP of their stacks. */
import { expect, it } from 'vitest';
import { type App, type AppSpec, Network } from '../../../src/engine/index.ts';
import { DatagramPort, type Fault, type Program, type SimHost, Simulation } from '../../../src/sim/index.ts';
import { Stack } from '../../../src/stack/index.ts';
import { tunnelClient, tunnelServer } from '../../../src/tunnel/index.ts';

const TOPOLOGY = {
  seed: 11,
  hosts: { client: { ppm: 50 }, router: { forward: true }, server: {} },
  links: {
    near: {
      between: ['client 192.0.2.1/24', 'router 192.0.2.254/24'] as [string, string],
      impair: 'delay 10ms 2ms loss 3%',
    },
    far: {
      between: ['router 198.51.100.254/24', 'server 198.51.100.1/24'] as [string, string],
      impair: 'delay 5ms',
    },
  },
};

/** An end of a tunnel in a network of its own on the host, with a stack inside. */
async function end(host: SimHost, tunnel: App | AppSpec, port: string, address: string): Promise<Stack> {
  const inside = new Stack({ interfaces: [{ name: 'tun0', addresses: [address], mtu: 1300 }] });
  const network = new Network(host.runtime, { memory: 32 << 20 });
  network.app('udp', new DatagramPort(port)).app('tunnel', tunnel).app('inside', inside);
  network.link('udp.out -> tunnel.outside').link('tunnel.outside -> udp.in');
  network.link('tunnel.inside -> inside.tun0').link('inside.tun0 -> tunnel.inside');
  await network.start();
  host.onStop(() => network.close());
  return inside;
}

async function run(faults: readonly Fault[]) {
  let inside: Stack | undefined;
  const answered: number[] = [];
  const programs: Record<string, Program> = {
    server: async (host) => {
      await end(host, tunnelServer({ addresses: ['10.8.0.1/24'] }), '0.0.0.0:55555', '10.8.0.1/24');
    },
    client: async (host) => {
      const tunnel = tunnelClient({ addresses: ['10.8.0.2/24'], server: '198.51.100.1:55555' });
      inside = await end(host, tunnel, '0.0.0.0:40000', '10.8.0.2/24');
      const ask = () => {
        const at = host.runtime.now();
        void inside!
          .ping('10.8.0.1', { timeout: 5e8 })
          .then(({ result }) => result === 'reply' && answered.push(at));
        host.runtime.timer(at + 1e8, ask);
      };
      ask();
    },
  };
  await using sim = await Simulation.start(TOPOLOGY, { programs, faults });
  await sim.runTo(20e9);
  return { answered, fingerprint: sim.fingerprint };
}

const within = (times: readonly number[], from: number, to: number) =>
  times.filter((at) => at >= from * 1e9 && at < to * 1e9).length;

it('carries packets, heals within 3 s of what was cut or restarted, and is the same every time', async () => {
  const faults: Fault[] = [
    { at: '4s', for: '4s', partition: [['client'], ['router', 'server']] },
    { at: '12s', for: '1s', crash: 'server' },
  ];
  const { answered, fingerprint } = await run(faults);
  // 100 pings in 10 s, of which 6 % are lost: 99.9 % are 82 or more of 100.
  expect(within(answered, 1, 4)).toBeGreaterThan(22);
  expect(within(answered, 4, 8)).toBe(0);
  expect(within(answered, 11, 12)).toBeGreaterThan(5);
  expect(within(answered, 12, 13)).toBe(0);
  expect(within(answered, 16, 19)).toBeGreaterThan(22);
  expect((await run(faults)).fingerprint).toBe(fingerprint);
}, 120_000);
