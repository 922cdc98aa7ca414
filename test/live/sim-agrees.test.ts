/** One module, a function and impairments, between TUNs of two namespaces and between those of two simulated hosts: the same comes of it. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseArrivals } from '../../bench/harness/arrivals.ts';
import { median } from '../../bench/harness/stats.ts';
import { compileProgram, type Program } from '../../scripts/flows.mjs';
import { liveRuntime, Network } from '../../src/engine/index.ts';
import * as udp from '../../src/packet/udp.ts';
import { Simulation } from '../../src/sim/index.ts';
import { createWorld } from '../../src/testing/index.ts';
import { addWitness } from '../../src/tun/capture/witness.ts';
import { configureInterface } from '../../src/tun/system/live-ip.ts';
import { tun } from '../../src/tun/tun.ts';
import { needs } from '../needs.ts';
import { scratchDirectory } from './cli-world.ts';
import { DELAY, LOSS, ONE_IN, wan } from './fixtures/wan.ts';

const [NEAR, FAR] = ['10.9.0.1', '10.9.0.2'];
const PORT = 7002;
const SIZE = 64;
const RATE = 1000;
const COUNT = 4000;
const PINGS = 25;
const MEMORY = 128 << 20;
const IPV4 = 20;

interface Seen {
  /** Which of the datagrams arrived. */
  numbers: number[];
  /** ns on the way there, by number. */
  delays: Map<number, number>;
  /** ns there and back, of each ping that was answered. */
  roundTrips: number[];
}

/** With sockets and `ping` of the kernel. @returns the port that the datagrams came from, too */
async function live(program: string): Promise<Seen & { port: number }> {
  await using folder = await scratchDirectory();
  await using world = await createWorld({ name: 'agrees' });
  const [near, far] = await Promise.all([world.host('near'), world.host('far')]);
  const network = wan(
    new Network(liveRuntime(), { memory: MEMORY })
      .app('near', tun({ name: 'wan0', netns: near.path }))
      .app('far', tun({ name: 'wan0', netns: far.path })),
  );
  await network.start();
  try {
    for (const [host, address] of [
      [near, NEAR],
      [far, FAR],
    ] as const)
      await configureInterface({
        name: 'wan0',
        netns: host.path,
        addresses: [`${address}/24`],
        mtu: 1500,
        up: true,
      });
    const { pool } = network;
    let port = 0;
    const { link } = network.links().find((each) => each.link.name.startsWith('near.out '))!;
    addWitness(link, (packet) => {
      const at = pool.offset[packet]! + IPV4;
      if (udp.destinationPort(pool.slab, at) === PORT) port = udp.sourcePort(pool.slab, at);
    });
    const file = path.join(folder.path, 'arrivals');
    const sink = far.spawn([program, 'sink', FAR, `${PORT}`, file]);
    await sink.waitFor('ready');
    const send = [program, 'send', FAR, `${PORT}`, `${SIZE}`, `${COUNT / RATE}`, `${RATE}`];
    await near.exec(send, { check: true, timeout: 30_000 });
    await sleep(500);
    expect((await sink.stop('SIGTERM', 20_000)).code).toBe(0);
    const arrivals = parseArrivals(await readFile(file));
    const ping = ['ping', '-n', '-c', `${PINGS}`, '-i', '0.02', '-W', '1', FAR];
    const { stdout } = await near.exec(ping, { timeout: 30_000 });
    const times = [...stdout.matchAll(/ time=([\d.]+) ms/g)].map((found) => Number(found[1]) * 1e6);
    const delays = [...arrivals.numbers].map(
      (number, n) => [number, arrivals.arrived[n]! - arrivals.left[n]!] as const,
    );
    return { numbers: [...arrivals.numbers], delays: new Map(delays), roundTrips: times, port };
  } finally {
    await network.close();
  }
}

/** With stacks of the simulation. */
async function simulated(port: number): Promise<Seen> {
  const host = (address: string) => ({ tuns: { wan0: { addresses: [`${address}/24`] } } });
  await using sim = await Simulation.start({ seed: 3, hosts: { near: host(NEAR), far: host(FAR) } });
  const network = wan(
    new Network(sim.runtime, { memory: MEMORY })
      .app('near', sim.host('near').tun('wan0'))
      .app('far', sim.host('far').tun('wan0')),
  );
  await network.start();
  const delays = new Map<number, number>();
  const sent: number[] = [];
  const now = () => sim.runtime.now();
  sim.host('far').stack.udp({
    port: PORT,
    onMessage: (bytes) => {
      const number = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
      delays.set(number, now() - sent[number]!);
    },
  });
  const { stack, runtime } = sim.host('near');
  const socket = stack.udp({ port });
  const send = () => {
    const bytes = new Uint8Array(SIZE);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(sent.length), true);
    sent.push(now());
    socket.send(bytes, { address: FAR, port: PORT });
    if (sent.length < COUNT) runtime.timer(runtime.now() + 1e9 / RATE, send);
  };
  send();
  await sim.run('6s');
  const roundTrips: number[] = [];
  for (let n = 0; n < PINGS; n++) {
    void stack.ping(FAR, { timeout: 1e9 }).then(({ result, time }) => {
      if (result === 'reply') roundTrips.push(time);
    });
    await sim.run('20ms');
  }
  await sim.run('2s');
  await network.close();
  return { numbers: [...delays.keys()], delays, roundTrips };
}

/** Of those that the function lets pass. */
const PASSED = (COUNT * (ONE_IN - 1)) / ONE_IN;
const SIGMA = Math.sqrt(PASSED * LOSS * (1 - LOSS));

describe.skipIf(needs('root', 'netns', 'tun', 'ip', 'ping', 'gcc'))(
  'the same module, live and simulated',
  () => {
    let oneway: Program;
    let real: Seen;
    let virtual: Seen;
    beforeAll(async () => {
      oneway = await compileProgram('bench/c/oneway.c');
      const { port, ...seen } = await live(oneway.program);
      real = seen;
      virtual = await simulated(port);
    }, 120_000);
    afterAll(() => oneway?.close());

    it('loses as many, within 3 sigma of what it says', () => {
      for (const { numbers } of [real, virtual])
        expect(Math.abs(numbers.length - PASSED * (1 - LOSS))).toBeLessThan(3 * SIGMA);
      expect(Math.abs(real.numbers.length - virtual.numbers.length)).toBeLessThan(3 * Math.SQRT2 * SIGMA);
    });

    it('loses the same datagrams of the same flow', () => {
      const inOrder = ({ numbers }: Seen) => numbers.toSorted((a, b) => a - b);
      expect(inOrder(real)).toEqual(inOrder(virtual));
    });

    it('takes as long there, and there and back, within 5 %', async () => {
      const there = ({ delays }: Seen) => median([...delays.values()]);
      const isLate = (seen: Seen) =>
        there(seen) > 1.05 * there(virtual) || median(seen.roundTrips) > 1.05 * median(virtual.roundTrips);
      // A machine that is busy with other things makes packets late, and never early: it gets three tries.
      for (let tries = 1; tries < 3 && isLate(real); tries++) real = await live(oneway.program);
      // Packets stay in order: what jitter holds back holds back those behind it.
      expect(there(virtual)).toBeGreaterThan(DELAY);
      expect(there(virtual)).toBeLessThan(1.1 * DELAY);
      expect(Math.abs(there(real) / there(virtual) - 1)).toBeLessThan(0.05);
      for (const { roundTrips } of [real, virtual]) expect(roundTrips.length).toBeGreaterThan(PINGS / 2);
      expect(Math.abs(median(real.roundTrips) / median(virtual.roundTrips) - 1)).toBeLessThan(0.05);
    }, 120_000);
  },
);
