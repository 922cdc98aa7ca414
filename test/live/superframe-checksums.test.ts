/** An independent look at every checksum inside: on the wire, on the far interface, and one hop behind that. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADDRESSES,
  compileFlows,
  compileProgram,
  type Program,
  sendFlows,
  serveFlows,
  startPair,
  twoEnds,
} from '../../scripts/flows.mjs';
import { createWorld, type Host } from '../../src/testing/index.ts';
import { needs } from '../needs.ts';

const MB = 1 << 20;

describe.skipIf(needs('root', 'tun', 'ping', 'gcc', 'ethtool'))(
  'under load every checksum inside is right',
  () => {
    let flows: Program;
    let check: Program;
    let generator: Program;

    beforeAll(async () => {
      [flows, check, generator] = await Promise.all([
        compileFlows(),
        compileProgram('bench/c/check.c'),
        compileProgram('bench/c/udpgen.c'),
      ]);
    });
    afterAll(() => Promise.all([flows, check, generator].map((each) => each.close())));

    /** Looks at packets until it is stopped; what it found. */
    async function checker(host: Host, ...words: string[]) {
      const process = host.spawn([check.program, '60', ...words]);
      await process.waitFor('"ready":true');
      return async () => {
        await process.stop('SIGTERM');
        return { ...JSON.parse(process.stdout.trim().split('\n').at(-1)!), stderr: process.stderr };
      };
    }

    it.each([4, 6] as const)('over IPv%i, TCP and UDP, both ways', async (family) => {
      await using world = await createWorld({ name: 'checksums' });
      const { server, client, wire } = await twoEnds(world);
      // Behind the server, over devices that do nothing for anybody: the kernel fills in what superframes left open.
      const behind = await world.host('behind');
      const [near, far, net] =
        family === 4 ? ['10.1.0.1', '10.1.0.2', '10.1.0.0/24'] : ['fd10::1', 'fd10::2', 'fd10::/64'];
      const length = net.split('/')[1];
      const leg = await world.wire(server, behind, { a: `${near}/${length}`, b: `${far}/${length}` });
      for (const { host, name } of [leg.a, leg.b]) {
        await host.exec(['ethtool', '-K', name, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'sg', 'off'], {
          check: true,
        });
      }
      const forward = family === 4 ? 'net.ipv4.ip_forward=1' : 'net.ipv6.conf.all.forwarding=1';
      await server.exec(['sysctl', '-qw', forward], { check: true });
      await behind.ip(`route add default via ${near}`);
      await startPair(server, client, { family });
      await client.ip(`route add ${net} dev tun0`);

      const onWire = await checker(server, 'udp-payload', wire.a.name, '55555');
      const onTun = await checker(server, 'packets', 'tun0');
      const onLeg = await checker(behind, 'packets', leg.b.name);

      const inner = ADDRESSES[family].client;
      await serveFlows(flows.program, behind, far);
      await serveFlows(flows.program, client, inner);
      for (const [from, to] of [
        [client, far],
        [behind, inner],
      ] as const) {
        for (const choppy of [false, true]) {
          const options = { flows: 8, bytes: choppy ? MB / 4 : 2 * MB, choppy };
          const { equal } = await sendFlows(flows.program, from, to, options);
          expect(equal).toBe(8);
        }
      }
      const sink = behind.spawn([generator.program, 'sink', far, '9000', '30']);
      await sink.waitFor('"ready":true');
      for (const size of ['64', '1300']) {
        await client.exec([generator.program, 'send', far, '9000', size, '0.4', '20000'], { check: true });
      }
      await sink.stop('SIGTERM');
      const { packets } = JSON.parse(sink.stdout.trim().split('\n').at(-1)!);
      expect(packets).toBeGreaterThan(5000);

      // What a checker lost, under load, was not looked at; what it saw has to be right.
      const fault = { bad: 0, partial_bad: 0, truncated: 0 };
      const [wired, taken, handed] = [await onWire(), await onTun(), await onLeg()];
      expect(wired).toMatchObject({ ...fault, partial: 0 });
      expect(wired.good).toBeGreaterThan(10_000);
      expect(taken).toMatchObject(fault);
      expect(taken.good + taken.partial).toBeGreaterThan(1000);
      expect(handed).toMatchObject({ ...fault, partial: 0 });
      expect(handed.good).toBeGreaterThan(10_000);
    });
  },
);
